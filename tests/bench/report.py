"""Tables of medians, spreads and ratios."""

import statistics


def median(results, figure):
    return statistics.median(row[figure.key] for row in results)


def ratios(rows, server, figure):
    """The ratio of each run to the reference's in the same run."""
    pairs = zip(rows[server], rows[figure.reference])
    return [one[figure.key] / other[figure.key] for one, other in pairs if other[figure.key]]


def cell(rows, server, figure):
    values = [row[figure.key] * figure.scale for row in rows[server]]
    low, mid, high = min(values), statistics.median(values), max(values)
    shown = [f"{value:,.{figure.digits}f}" for value in (low, mid, high)]
    return shown[1] if len(values) == 1 else f"{shown[1]} ({shown[0]} to {shown[2]})"


def ratio_cell(rows, server, figure):
    if not figure.reference or figure.reference not in rows:
        return ""
    if server == figure.reference:
        return "1"
    return f"{statistics.median(ratios(rows, server, figure)):.2f}"


def verdict(rows, figure):
    """Whether the gateway reaches its goal: '' if there is none, else the goal and 'yes' or by how much not."""
    if not figure.goal or "gateway" not in rows:
        return None
    if figure.reference:
        if figure.reference not in rows:
            return None
        value = statistics.median(ratios(rows, "gateway", figure))
    else:
        value = median(rows["gateway"], figure) * figure.scale
    return figure.goal(value), figure.goal_text, value


def table(work, rows, labels):
    """Markdown: a row for each server, for each figure a column with its median (spread) and one with its ratio."""
    head, lines = ["server"], []
    for figure in work.figures:
        head.append(f"{figure.title}, {figure.unit}")
        if figure.reference:
            head.append(f"ratio to {figure.reference}")
    for server in rows:
        line = [f"**{labels[server]}**" if server == "gateway" else labels[server]]
        for figure in work.figures:
            line.append(cell(rows, server, figure))
            if figure.reference:
                line.append(ratio_cell(rows, server, figure))
        lines.append(line)
    text = [f"**{work.title}**", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    text += ["| " + " | ".join(line) + " |" for line in lines]
    for figure in work.figures:
        found = verdict(rows, figure)
        if found:
            text += ["", f"Goal for {figure.title}: {found[1]}. Measured: {found[2]:.2f}, "
                         f"{'reached' if found[0] else 'MISSED'}."]
    return "\n".join(text) + "\n"
