"""`ConfigBlock`, what every block of a params file is, and the types that blocks share."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

Variant = Literal["base", "instruct"]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*$", max_length=40)]


class ConfigBlock(BaseModel):
    """A block of a params file: immutable, and closed to unknown keys and loose types.

    A key that came after the first release is named in `added`: while it has its default it is left out of what the
    block is dumped to, so that run ids and fingerprints of studies that never set it stay what they were.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    added: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _leave_out_added_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        defaults = {
            name for name in self.added if getattr(self, name) == fields[name].get_default(call_default_factory=True)
        }
        return {key: value for key, value in handler(self).items() if key not in defaults}
