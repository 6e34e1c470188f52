"""Writes `BENCHMARKS.md` from the figures of one run, and the words of `benches/notes.md`."""

from pathlib import Path

from . import judge, targets
from .markdown import table
from .sections import SECTIONS, contenders


def write(found: dict, folder: Path, notes: Path) -> Path:
    """Writes the report and its plots into a folder, and returns the report's path."""
    plots = folder / "benches" / "plots" if notes.is_relative_to(folder) else folder / "plots"
    text = [HEAD, machine(found), "\n## The machine\n", judge.render(found)]
    text += ["\n## The targets\n", targets.render(found)]
    for name, result in found["sections"].items():
        text += [f"\n## {SECTIONS[name].TITLE}\n", SECTIONS[name].render(result, plots)]
    text += ["\n## Where the time goes\n", notes.read_text()]
    if notes.is_relative_to(folder):
        contenders.picture(found["sections"]["contenders"], folder / "docs" / "images")
    report = folder / "BENCHMARKS.md"
    relative = str(plots.relative_to(folder))
    report.write_text("\n".join(text).replace("](plots/", f"]({relative}/"))
    return report


def machine(found: dict) -> str:
    """Returns the table of the machine, and how the run went."""
    run = found["run"]
    rows = [*found["machine"].items()]
    cores = run["cores"]
    rows.append(("cores", f"Envoy {cores['envoy']}, wrk {cores['load']}, service {cores['service']}"))
    effort = f"{run['rounds']} rounds of {run['seconds']:.0f} s"
    rows.append(("run", f"`{run['command']}`, {run['at']}, {effort}, {run['took'] / 60:.0f} min"))
    tokens = ", ".join(f"{alg} {size} bytes" for alg, size in run["token_bytes"].items())
    rows.append(("tokens", f"{tokens}; 20 claims"))
    rows.append(("others' share of Envoy's core", disturbance(found)))
    return table(["machine", ""], rows).replace("---:", "---")


def disturbance(found: dict) -> str:
    """Returns how much others, and the hypervisor, took from Envoy in the worst run and the usual."""
    cases = found["sections"].get("contenders", {}).get("cases", [])
    shares = sorted(case["others_busy"] for case in cases if "others_busy" in case)
    if not shares:
        return "not measured"
    worst, usual = shares[-1], shares[len(shares) // 2]
    verdict = "" if usual < 0.05 else "; **too much for figures that should be quoted**"
    return f"{usual:.0%} usually, {worst:.0%} at worst{verdict}"


HEAD = """\
# Benchmarks

Written by `make bench`; only "Where the time goes" is by hand, from `benches/notes.md`. Everything is
of one run on one machine, so compare within this page, not with figures from elsewhere.
`benches/README.md` says how it is measured and why that is fair.
"""
