"""What Temporal is given to keep: JSON of our models, always encrypted, failures included."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from pydantic import TypeAdapter
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
    PayloadCodec,
)

from activities.keys import KeyRing

ENCODING = b"binary/kefu"
NOTHING = b"binary/null"
PURPOSE = "payload"


@cache
def _adapter(type_hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(type_hint)


class LenientJSON(PydanticJSONPlainPayloadConverter):
    """People's input is strict about unknown fields; what one release wrote, the release before must still read."""

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        return _adapter(type_hint or Any).validate_json(payload.data, extra="ignore")


class KefuPayloadConverter(CompositePayloadConverter):
    """Temporal's own converters with ours in the place of JSON."""

    def __init__(self) -> None:
        others = DefaultPayloadConverter.default_encoding_payload_converters
        super().__init__(*(LenientJSON() if isinstance(c, JSONPlainPayloadConverter) else c for c in others))


class EncryptingCodec(PayloadCodec):
    """AES-GCM under the ring's writing key; reads any key of the ring."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            payload if payload.metadata.get("encoding") == NOTHING else self._sealed(payload) for payload in payloads
        ]

    def _sealed(self, payload: Payload) -> Payload:
        return Payload(
            metadata={"encoding": ENCODING, "key": self._keys.writing.encode()},
            data=self._keys.seal(payload.SerializeToString(), PURPOSE, PURPOSE),
        )

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(self._opened(payloads))

    def _opened(self, payloads: Sequence[Payload]) -> Iterable[Payload]:
        for payload in payloads:
            if payload.metadata.get("encoding") == ENCODING:
                yield Payload.FromString(self._keys.open(payload.data, PURPOSE, PURPOSE))
            else:
                yield payload


def data_converter(keys: KeyRing) -> DataConverter:
    """The converter of every client and worker."""
    return DataConverter(
        payload_converter_class=KefuPayloadConverter,
        payload_codec=EncryptingCodec(keys),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
