"""Tables of results in Markdown, and what stands below them."""

import statistics


def markdown(heads, rows):
    """A table: a line of heads, and a line for each row of cells."""
    lines = [f"| {' | '.join(map(str, cells))} |" for cells in (heads, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(heads), *lines[1:]]) + "\n"


def mean_std(values, digits=3):
    """Mean ± standard deviation; the mean alone of a single value, and a dash of none."""
    if not values:
        return "–"
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{deviation}"


def deviation(values):
    """Standard deviation, for the bars of a plot: 0 of a single value."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def footnote(results):
    """How the figures of a table came about."""
    configuration, lines = results["configuration"], []
    if "seeds" in configuration:
        several = configuration["seeds"] > 1
        lines += [f"Mean ± standard deviation over {configuration['seeds']} seeds." if several else "One seed.", ""]
    minutes = sum(row.get("seconds", 0.0) for row in results["runs"]) / 60
    duration = f"{minutes:.1f} minutes of training on " if minutes else ""
    lines.append(f"Command: `{results['command']}`; {duration}{'; and on '.join(origins(results))}.")
    if configuration.get("quick"):
        lines += ["", "A quick run: these figures say nothing about the networks."]
    return "\n".join(lines) + "\n"


def origins(results):
    """Where and with what all rows were made: several, if a run was ended elsewhere than it was begun."""
    return list(dict.fromkeys(origin(row.get("origin", results)) for row in results["runs"] or [{}]))


def origin(made):
    """The processor, versions and commit with which something was made."""
    versions = made["versions"]
    return (
        f"{made['processor']}; Python {versions['python']}, keras {versions['keras']} on {versions['backend']}; "
        f"commit {made['commit']}"
    )
