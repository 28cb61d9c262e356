"""Protobuf messages from a table: of a protocol only the fields that are read here, as its specification numbers them.

A table names each message with its fields, as ``1 string name, 2 int64* shape, 3 Other child``: number, type (``*``:
repeated; another message of the table by its name) and name. Fields that are left out are passed over by the library.
Each table lives in a pool of its own, so that a program may hold another's copy of the same protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeostat.domain.errors import NotInstalled


def classes(package: str, table: Mapping[str, str], *, syntax: str, what: str, extra: str) -> dict[str, Any]:
    """The classes of a table's messages, by name.

    Args:
        package: The protocol's package.
        table: Fields by message.
        syntax: ``proto2``, which tells a field that is absent from one that holds 0, or ``proto3``.
        what: Who asks, as an error names it.
        extra: Which extra of Homeostat installs protobuf.

    Raises:
        NotInstalled: protobuf is missing.
    """
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as error:
        raise NotInstalled(
            f"{what} needs protobuf, which is not installed", remedy=f"Run: pip install 'homeostat[{extra}]'"
        ) from error
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name=f"homeostat/{package}.proto", package=package, syntax=syntax
    )
    for name, fields in table.items():
        message = file.message_type.add(name=name)
        for field in filter(None, fields.split(", ")):
            number, kind, label = field.split()
            added = message.field.add(name=label, number=int(number))
            added.label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            if kind in table:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".{package}.{kind}"
            else:
                added.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
        for name in table
    }
