# SPDX-License-Identifier: MIT
# What every source file must keep to, one function per rule: each takes a path (relative to the
# root of the repository) and the file's text, and gives back what is wrong, one line each. Nothing
# here opens a file, so that test_rules.py can show each rule a violation.
import re

# What a folder may include from, besides itself: processes meet in proto/ alone.
INCLUDES = {
    "proto": ["proto"],
    "common": ["common", "proto"],
    "gateway": ["gateway", "common", "proto"],
    "deploy": ["deploy", "common", "proto"],
}
SERVICE_INCLUDES = ["common", "proto"]

MAX_FUNCTION_LINES = 70

# Calls that overflow their target, or cannot tell a wrong number from a right one.
UNSAFE_CALLS = re.compile(
    r"(?<![A-Za-z0-9_])(strtou?ll?|ato[ifl]l?|[sf]?scanf|v[sf]?scanf"
    r"|strcpy|strcat|stpcpy|v?sprintf|gets)\s*\("
)

# Calls that reach a file. services/queue makes them in io.c alone: what goes around its table is
# not seen by the simulation of a failing disk.
FILE_CALLS = re.compile(
    r"(?<![A-Za-z0-9_>.])(open(?:at)?(?:64)?|creat|fopen|p?readv?(?:64)?|p?writev?(?:64)?"
    r"|f(?:data)?sync|sync_file_range|(?:posix_)?fallocate|f?truncate|rename(?:at2?)?"
    r"|unlink(?:at)?|remove|mmap|(?:fd)?opendir|lseek|fstat(?:at)?|uv_fs_\w+)\s*\("
)

# The text of a JSON value that may be of any type is json_text() (common/json_text.h).
TEXT_OF_ANYTHING = re.compile(r"\{\s*yyjson_get_str\(([^()]*)\),\s*yyjson_get_len\(")

NAMELESS = re.compile(r"^(utils?|misc|helpers?|common|stuff)\.", re.IGNORECASE)

SPDX = "SPDX-License-Identifier: MIT"


def folder_of(path):
    """The unit that may include its own files: gateway, common, services/users ..."""
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] == "services" else parts[0]


def lines(text):
    return enumerate(text.split("\n"), 1)


def blank(text):
    """The text with blanks instead of comments and literals, each line as long as before."""
    pattern = r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.DOTALL)


def includes(path, text):
    folder = folder_of(path)
    allowed = INCLUDES.get(folder, [folder] + SERVICE_INCLUDES)
    wrong = []
    for number, line in lines(text):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if match and folder_of(match[1]) not in allowed:
            wrong.append(
                f"{path}:{number}: includes {match[1]}; {folder}/ may include from "
                + ", ".join(allowed)
            )
    return wrong


def license_line(path, text):
    first = text.split("\n", 2)
    at = 1 if first[0].startswith("#!") else 0
    if len(first) > at and SPDX in first[at]:
        return []
    return [f"{path}:{at + 1}: the SPDX line is missing"]


def header_guard(path, text):
    words = path[: -len(".h")].split("/")
    guard = "_".join(words[-2:]).upper().replace("-", "_") + "_H"
    if re.search(rf"^#ifndef {guard}\n#define {guard}\n", text, re.MULTILINE):
        return []
    return [f"{path}: the header guard is not {guard}"]


def file_name(path, text):
    del text
    name = path.rsplit("/", 1)[-1]
    return [f"{path}: the name says nothing of what is inside"] if NAMELESS.match(name) else []


def unsafe_calls(path, text):
    return [
        f"{path}:{number}: calls {match[1]}()"
        for number, line in lines(blank(text))
        for match in UNSAFE_CALLS.finditer(line)
    ]


def text_of_anything(path, text):
    return [
        f"{path}: {match[0]}...) }}: of an array it has a length and no bytes; json_text() is safe"
        for match in TEXT_OF_ANYTHING.finditer(blank(text))
    ]


def file_calls(path, text):
    if not path.startswith("services/queue/") or path == "services/queue/io.c":
        return []
    return [
        f"{path}:{number}: calls {match[1]}(); files are reached through services/queue/io.h"
        for number, line in lines(blank(text))
        for match in FILE_CALLS.finditer(line)
    ]


def function_length(path, text):
    wrong, start = [], None
    for number, line in lines(text):
        if line == "{":
            start = number
        elif line == "}" and start:
            if number - start - 1 > MAX_FUNCTION_LINES:
                wrong.append(
                    f"{path}:{start}: a function of {number - start - 1} lines; at most "
                    f"{MAX_FUNCTION_LINES}"
                )
            start = None
    return wrong


def unfinished(path, text):
    return [
        f"{path}:{number}: {match[0]}"
        for number, line in lines(text)
        for match in re.finditer(r"\b(TODO|FIXME|XXX|HACK)\b", line)
    ]


def white_space(path, text):
    wrong = [
        f"{path}:{number}: white space at the end"
        for number, line in lines(text)
        if line != line.rstrip()
    ]
    if path.endswith((".c", ".h", ".py")):
        wrong += [f"{path}:{number}: a tab" for number, line in lines(text) if "\t" in line]
    if not text.endswith("\n") or text.endswith("\n\n"):
        wrong.append(f"{path}: must end with one newline")
    return wrong


def own_header_first(path, text):
    """A .c file includes its own header before anything else: so the header compiles alone."""
    first = re.search(r'^#\s*include\s+["<]([^">]+)[">]', text, re.MULTILINE)
    own = path[: -len(".c")] + ".h"
    if first and first[1] == own:
        return []
    return [f"{path}: {own} must be the first include"]


def environment_keys(text):
    """The variables that an env file sets."""
    return set(re.findall(r"^([A-Z][A-Z0-9_]*)=", text, re.MULTILINE))
