# SPDX-License-Identifier: MIT
# Pages whose ```console blocks are a session: "$ " before a command, "> " before its further lines, and
# then what it prints, standard error included. All blocks of a page run in one shell, in order; the
# output must be what the page says, but for what is another one each time (times, ids, sequences, rates).
# "..." stands for anything in a line, and alone in a line for any lines.
import re
import subprocess

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "== command "

# What changes from run to run, and the word that it becomes on both sides before they are compared.
UNSTABLE = [
    (r"00-[0-9a-f]{32}-[0-9a-f]{16}-0\d", "TRACE"),
    (r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "ID"),
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"\bimport-[0-9a-f]{24}\b", "PRODUCER"),
    (r"\|[ #]+\|", "BAR"),
    (r"\b\d{20}\.(seg|zst)", r"FILE.\1"),
    (r"\b\d{20}\b", "SEQUENCE"),
    (r"#\d+", "#SEQUENCE"),
    (r'("[a-z_]*seq"): ?\d+', r"\1:SEQUENCE"),
    (r'("end"): ?\d+', r"\1:OFFSET"),
    (r'("[a-z]+_ms"): ?\d+', r"\1:MILLISECONDS"),
    (r"\b\d+\.\.\d+\b", "SEQUENCES"),
    (r"\b\d+ -> \d+\b", "SEQUENCE -> SEQUENCE"),
    (r"\bfrom \d+ to \d+\b", "from SEQUENCE to SEQUENCE"),
    (r"\bsequence \d+\b", "sequence SEQUENCE"),
    (r"\b\d+ +TIME", "SEQUENCE TIME"),
    (r"\b\d+\.\d+(,\d+(\.\d+)?){4,}$", "FIGURES"),
    (r"\b\d+(\.\d+)?/s", "RATE/s"),
    (r"\b(\d+[dhm])?\d+(\.\d+)? ?(us|ms|s|m|h|d)\b", "DURATION"),
    (r"\b\d+\.\d+ (B|KiB|MiB|GiB|MB)\b", "SIZE"),
    (r"\bclient \d+\b", "client NUMBER"),
    (r"^ *\d+ (ready|blocked|delayed|delivered|dying) ", r"SEQUENCE \1 "),
    (r"[ \t]+", " "),
    (r" $", ""),
]


class Command:
    """A command of a page, with what the page says that it prints."""

    def __init__(self, line):
        self.line, self.text, self.expected = line, "", ""

    @property
    def may_fail(self):
        """A page that shows a failure shows its status."""
        return "$?" in self.text


def commands(page):
    """The commands of all console blocks of a page."""
    found = []
    for block in BLOCK.finditer(page):
        first = page.count("\n", 0, block.start(1)) + 1
        lines = block[1].splitlines()
        assert lines[0].startswith("$ "), f"line {first}: a console block begins with a command"
        for number, line in enumerate(lines, first):
            if line.startswith("$ "):
                found.append(Command(number))
                found[-1].text = line[2:] + "\n"
            elif line.startswith("> ") and not found[-1].expected:
                found[-1].text += line[2:] + "\n"
            else:
                found[-1].expected += line + "\n"
    return found


def run(session, cwd, env, before="", timeout=120):
    """Runs the commands in one shell; returns [(status, output)]. before: what the shell does first."""
    script = before
    for number, command in enumerate(session):
        script += f"_status=$?; echo '{MARK}{number}'; (exit $_status)\n{command.text}"
        script += f"_status=$?; echo; echo '{MARK}status' $_status; (exit $_status)\n"
    done = subprocess.run(
        ["bash", "-c", script], cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=timeout, errors="replace",
    )
    found = re.findall(
        rf"^{MARK}\d+\n(.*?)\n?^{MARK}status (\d+)$", done.stdout, re.MULTILINE | re.DOTALL
    )
    assert len(found) == len(session), done.stdout[-4000:]
    return [(int(status), output) for output, status in found]


def stable(text):
    for pattern, word in UNSTABLE:
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return text.rstrip("\n")


def agrees(expected, output):
    """Whether the output is what the page says."""
    pattern = ""
    for line in stable(expected).splitlines():
        pattern += (
            r"(?:.*\n)*?" if line == "..." else ".*?".join(map(re.escape, line.split("..."))) + r"\n"
        )
    text = stable(output)
    return re.fullmatch(pattern, text + "\n" if text else "") is not None
