# SPDX-License-Identifier: MIT
# Each rule must be able to fail: here it is shown one violation and one sound file.
import pytest
import rules

CASES = [
    (
        rules.includes,
        "gateway/a.c",
        '#include "services/users/token.h"\n',
        '#include "proto/buf.h"\n',
    ),
    (
        rules.includes,
        "services/users/a.c",
        '#include "services/orders/page.h"\n',
        '#include "services/users/token.h"\n',
    ),
    (rules.includes, "common/a.c", '#include "gateway/jwt.h"\n', '#include "common/db.h"\n'),
    (rules.includes, "proto/a.c", '#include "common/db.h"\n', '#include "proto/buf.h"\n'),
    (
        rules.license_line,
        "a.sh",
        "#!/bin/sh\necho\n",
        "#!/bin/sh\n# SPDX-License-Identifier: MIT\n",
    ),
    (rules.license_line, "a.c", "int x;\n", "// SPDX-License-Identifier: MIT\n"),
    (
        rules.header_guard,
        "services/users/token.h",
        "#ifndef TOKEN_H\n#define TOKEN_H\n",
        "// x\n#ifndef USERS_TOKEN_H\n#define USERS_TOKEN_H\n",
    ),
    (rules.file_name, "gateway/util.c", "", None),
    (rules.file_name, "gateway/helpers.h", "", None),
    (rules.unsafe_calls, "a.c", "n = atoi(text);\n", "// atoi() would do\nn = my_atoi(text);\n"),
    (rules.unsafe_calls, "a.c", 'sprintf(out, "x");\n', 'snprintf(out, 2, "strcpy(");\n'),
    (
        rules.text_of_anything,
        "a.c",
        "s = (struct str){ yyjson_get_str(v), yyjson_get_len(v) };\n",
        "s = json_text(v);\n",
    ),
    (
        rules.file_calls,
        "services/queue/a.c",
        "status = pwrite(fd, b, n, 0);\n",
        "io->pwrite(io, fd, b, n, 0);\ncommitter_open(loop);\n// fsync() is in io.c\n",
    ),
    (rules.function_length, "a.c", "{\n" + "x;\n" * 71 + "}\n", "{\n" + "x;\n" * 70 + "}\n"),
    (rules.unfinished, "a.c", "// TODO: later\n", "// to do\n"),
    (rules.white_space, "a.c", "x \n", "x\n"),
    (rules.white_space, "a.c", "\tx\n", "    x\n"),
    (rules.white_space, "a.c", "x", "x\n"),
    (
        rules.own_header_first,
        "a/b.c",
        '#include <errno.h>\n#include "a/b.h"\n',
        '#include "a/b.h"\n#include <errno.h>\n',
    ),
]


@pytest.mark.parametrize("rule,path,bad,good", CASES, ids=lambda v: getattr(v, "__name__", None))
def test_rule_sees_a_violation(rule, path, bad, good):
    assert rule(path, bad)
    assert not rule(path, good) if good else not rule("gateway/router.c", "")


def test_environment_keys():
    assert rules.environment_keys("# X=1\nA=1\nB_2=\n") == {"A", "B_2"}
