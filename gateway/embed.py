#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Makes the C source of the files of a page, as an array of struct page_file (gateway/page_file.h):
#
#     embed.py OUTPUT ARRAY URL FILE...
#
# index.html is at URL, the others are at URL/NAME.
import hashlib
import pathlib
import sys

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def main(output, array, url, *names):
    paths = [pathlib.Path(name) for name in names]
    text = '// Made by gateway/embed.py.\n#include "gateway/page_file.h"\n\n'
    table = ""
    for number, path in enumerate(paths):
        content = path.read_bytes()
        lines = [content[at : at + 20] for at in range(0, len(content), 20)]
        text += f"static const unsigned char file_{number}[] = {{\n"
        text += "".join("    " + "".join(f"{byte}," for byte in line) + "\n" for line in lines)
        text += "};\n\n"
        at = url if path.name == "index.html" else f"{url}/{path.name}"
        tag = hashlib.blake2b(content, digest_size=16).hexdigest()
        table += (
            f'    {{ "{at}", "{MEDIA_TYPES[path.suffix]}", "\\"{tag}\\"", file_{number}, '
            f"{len(content)} }},\n"
        )
    text += f"const struct page_file {array}[] = {{\n{table}    {{ 0 }},\n}};\n"
    pathlib.Path(output).write_text(text)


main(*sys.argv[1:])
