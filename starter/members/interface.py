"""What a chain's own service answers, for its IT to build: `docs/member-system.json`, an OpenAPI document made from our models."""

import json
from typing import Any

from models.members import MemberRecord, PurchaseRecord

INSTANT = {"type": "string", "format": "date-time"}
DAY = {"type": "string", "format": "date"}
PAGING = {
    "limit": {"type": "integer", "minimum": 1, "description": "so many records at most"},
    "cursor": {"type": "string", "description": "of the answer before; absent at first"},
}


def document() -> dict[str, Any]:
    """The OpenAPI document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "会员系统 · what Kefu asks a member system",
            "version": "1",
            "description": "Three questions, each answered in parts. Answers change nothing, so each may be asked again. "
            "Numbers of members are in bodies, not in addresses. HTTPS, and a bearer token where the network is shared.",
        },
        "paths": {
            "/members/changed": _asked(
                "Members that are new, or were changed at `since` or after it", "Member", {"since": INSTANT}
            ),
            "/members/expiring": _asked(
                "Members whose card's last day lies between two days, both of them included",
                "Member",
                {"first": DAY, "last": DAY},
            ),
            "/purchases": _asked(
                "Receipts of a member paid from `since` to before `until`, and every refund of them, whenever it was",
                "Purchase",
                {"member_no": {"type": "string"}, "since": INSTANT, "until": INSTANT},
            ),
        },
        "components": {
            "schemas": {"Member": MemberRecord.model_json_schema(), "Purchase": PurchaseRecord.model_json_schema()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _asked(summary: str, record: str, question: dict[str, Any]) -> dict[str, Any]:
    body = {"type": "object", "required": list(question), "properties": {**question, **PAGING}}
    part = {
        "type": "object",
        "required": ["items"],
        "properties": {
            "items": {"type": "array", "items": {"$ref": f"#/components/schemas/{record}"}},
            "cursor": {
                "type": "string",
                "description": "where the next part begins; absent or null where this is the last",
            },
        },
    }
    return {
        "post": {
            "summary": summary,
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": {"200": {"description": "a part", "content": {"application/json": {"schema": part}}}},
        }
    }


def text() -> str:
    return json.dumps(document(), ensure_ascii=False, indent=2) + "\n"
