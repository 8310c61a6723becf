"""The page at /docs: every address and every field, from the interface's own description. Plain HTML, nothing from elsewhere."""

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from html import escape
from typing import Any

from models.words import choice, label

STYLE = """body{font:15px/1.6 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}
table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:.2em .6em;text-align:left;vertical-align:top}
code{background:#f2f2f2}h2{margin-top:2em}"""
POLICY = f"default-src 'self'; style-src 'sha256-{b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
HEAD = ("字段 field", "名称 label", "必填 required", "取值 value")


def page(document: dict[str, Any]) -> str:
    """An OpenAPI document as a page to read."""
    parts = [f"<h1>{escape(document['info']['title'])}</h1><p>{escape(document['info']['description'])}</p>"]
    parts.append('<p>机器可读 · for machines: <a href="/openapi.json">/openapi.json</a></p>')
    for path, methods in document["paths"].items():
        for method, door in methods.items():
            parts.append(
                f"<h2>{escape(door.get('summary', ''))}</h2><p><code>{method.upper()} {escape(path)}</code></p>"
            )
            parts.append(_table(list(_rows(path, door, document["components"]["schemas"]))))
    return f'<!doctype html><html lang="zh"><meta charset="utf-8"><title>Kefu 客服</title><style>{STYLE}</style>{"".join(parts)}</html>'


def _table(rows: list[tuple[str, ...]]) -> str:
    lines = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    head = "".join(f"<th>{name}</th>" for name in HEAD)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>" if rows else ""


def _rows(path: str, door: dict[str, Any], schemas: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """The parameters, then the fields of the body; those within another with a dot."""
    for given in door.get("parameters", []):
        about = given.get("description") or _value("", "", given["schema"])
        yield f"{given['name']} ({given['in']})", "", "✓" if given["required"] else "", about
    body = door.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body:
        yield from _fields(path.rpartition("/")[2], "", body, schemas)


def _fields(owner: str, within: str, schema: dict[str, Any], schemas: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    model = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    for name, field in model["properties"].items():
        full = f"{within}{name}"
        inner = next((kind for kind in (field, *field.get("anyOf", [])) if "$ref" in kind), None)
        yield full, label(owner, full), "✓" if name in model.get("required", []) else "", _value(owner, full, field)
        if inner:
            yield from _fields(owner, f"{full}.", inner, schemas)


def _value(owner: str, field: str, schema: dict[str, Any]) -> str:
    kind = next((kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"), schema)
    if "enum" in kind:
        return ", ".join(f"{code}（{choice(owner, field, code)}）" for code in kind["enum"])
    bounds = [f"≤ {kind[most]}" for most in ("maxLength", "maximum") if most in kind]
    return " ".join([kind.get("format") or kind.get("type", "object"), *bounds])
