# SPDX-License-Identifier: MIT
# Whether the fields of a manifest are those that the API of Kubernetes has, each with a value of its kind: a name that
# is misspelt is left out by the server without a word. The API is that of the client library, whose classes are made
# from it.
import re

from kubernetes import client

# Newer than the library of Debian 12, which has the same fields under the name before.
OLDER = {"V2HorizontalPodAutoscaler": "V2beta2HorizontalPodAutoscaler"}
OTHERS = {"Kustomization", "Component", "ScaledObject"}  # not of the API itself
SIMPLE = {"str": str, "int": int, "bool": bool, "float": (int, float), "datetime": str}


def misfits(value, kind, path):
    """What does not fit the kind of value that the API has there, one sentence each."""
    many = re.fullmatch(r"(list|dict)[\[(](?:str, )?(.+)[\])]", kind)
    if kind == "object":  # any, such as a number or a name
        return []
    if many:
        if type(value).__name__ != many[1]:
            return [f"{path} is no {many[1]}"]
        each = value.items() if many[1] == "dict" else enumerate(value)
        return [wrong for key, one in each for wrong in misfits(one, many[2], f"{path}[{key}]")]
    if kind in SIMPLE:
        fits = isinstance(value, SIMPLE[kind]) and (kind == "bool" or not isinstance(value, bool))
        return [] if fits else [f"{path} is no {kind}, but {value!r}"]
    return misfits_of_object(value, getattr(client, kind), path)


def misfits_of_object(value, model, path):
    if not isinstance(value, dict):
        return [f"{path} is no object"]
    attributes = {name: attribute for attribute, name in model.attribute_map.items()}
    wrong = [f"{path} knows no {name}" for name in value if name not in attributes]
    known = {attributes[name]: one for name, one in value.items() if name in attributes}
    try:
        model(**known)  # complains of what must be there
    except ValueError as error:
        wrong.append(f"{path}: {error}")
    for attribute, one in known.items():
        wrong += misfits(one, model.openapi_types[attribute], f"{path}.{model.attribute_map[attribute]}")
    return wrong


def fields(documents):
    """All that is wrong with the documents' fields."""
    wrong = []
    for document in documents:
        kind = document["kind"]
        if kind not in OTHERS:
            name = document["apiVersion"].rpartition("/")[2].capitalize() + kind
            model = getattr(client, name, None) or getattr(client, OLDER.get(name, ""), None)
            wrong += misfits_of_object(document, model, kind) if model else [f"the API has no {name}"]
    return wrong
