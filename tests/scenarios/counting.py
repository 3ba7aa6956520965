"""What was published against what arrived."""

import collections


class Count:
    """Of all receivers together: how often something was missed or repeated, stood in the wrong order, or was never
    published."""

    def __init__(self):
        self.missed = self.repeated = self.disordered = self.unknown = 0
        self.published = self.delivered = self.receivers = 0

    def add(self, published, got):
        """One receiver: everything that it should have got, in order, and what it got. Each must be hashable, and all of
        `published` be different."""
        place = {what: at for at, what in enumerate(published)}
        assert len(place) == len(published), "what was published cannot be told apart"
        times = collections.Counter(got)
        first = [place[what] for what in dict.fromkeys(got) if what in place]
        self.missed += sum(what not in times for what in place)
        self.repeated += sum(count - 1 for what, count in times.items() if what in place)
        self.unknown += sum(count for what, count in times.items() if what not in place)
        self.disordered += sum(later < earlier for earlier, later in zip(first, first[1:]))
        self.published = max(self.published, len(published))
        self.delivered += len(got)
        self.receivers += 1
        return self

    @property
    def is_exact(self):
        return self.delivered > 0 and not (self.missed or self.repeated or self.disordered or self.unknown)

    def __str__(self):
        more = "".join(f", {name} {count}" for name, count in (("out of order", self.disordered),
                                                               ("never published", self.unknown)) if count)
        return f"missed {self.missed}, repeated {self.repeated}{more}"
