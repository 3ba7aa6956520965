"""One table of medians, spreads and ratios."""

import statistics


def ratios(rows, server, figure):
    """The ratio of each run to the reference's in the same run."""
    pairs = zip(rows[server], rows[figure.reference])
    return [one[figure.key] / other[figure.key] for one, other in pairs if other[figure.key]]


def cell(rows, server, figure):
    """Median, spread, and the median of the ratios to the reference."""
    if server not in rows or figure.key not in rows[server][0]:
        return ""
    values = [row[figure.key] * figure.scale for row in rows[server]]
    low, mid, high = (f"{value:,.{figure.digits}f}"
                      for value in (min(values), statistics.median(values), max(values)))
    text = mid if len(values) == 1 else f"{mid} ({low} to {high})"
    if figure.key in rows.get(figure.reference, [{}])[0] and server != figure.reference:
        text += f", ×{statistics.median(ratios(rows, server, figure)):.2f}"
    return f"**{text}**" if server == "gateway" else text


def verdict(rows, figure):
    """The goal, and whether it was reached or what was measured instead."""
    if not figure.goal or "gateway" not in rows or (figure.reference and figure.reference not in rows):
        return ""
    if figure.reference:
        value = statistics.median(ratios(rows, "gateway", figure))
    else:
        value = statistics.median(row[figure.key] for row in rows["gateway"]) * figure.scale
    return f"{figure.goal_text}: " + ("reached" if figure.goal(value) else f"missed, {value:.2f}")


def table(works, results, columns):
    """Markdown: a row for each figure of each work, a column for each server that was measured; ratios are to
    the server named in the figure's column."""
    used = [server for server in columns if any(server.name in rows for rows in results.values())]
    head = ["work", "figure", *(server.label for server in used), "goal"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for work in works:
        rows, title = results.get(work.name, {}), work.title
        for figure in work.figures if rows else ():
            name = f"{figure.title}, {figure.unit}" + (f" (× {figure.reference})" if figure.reference in rows else "")
            cells = [title, name, *(cell(rows, server.name, figure) for server in used), verdict(rows, figure)]
            lines.append("| " + " | ".join(cells) + " |")
            title = ""
    return "\n".join(lines) + "\n"
