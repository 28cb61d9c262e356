"""``models sign`` and ``models verify``: signatures over the files of versions. A private key stays where it is."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from homeostat.cli.flags import command
from homeostat.cli.output import Json, moment, print_json, print_table
from homeostat.cli.packages import Version, version_of
from homeostat.cli.people import Actor
from homeostat.cli.session import Session
from homeostat.domain.errors import BadRequest, NotFound, Unsafe
from homeostat.domain.refs import Ref

if TYPE_CHECKING:
    from homeostat.app.registry.trees import Tree
    from homeostat.app.signatures import Signatures
    from homeostat.cli.direct import Direct
    from homeostat.sdk.client import Client


def register(models: typer.Typer) -> None:
    """Add the commands to the group."""
    command(models, "sign", settings=("home", "server"))(sign)
    command(models, "verify", settings=("home", "server"))(verify)


def sign(
    session: Session,
    ref: Version,
    key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The private key: PEM, of the curve P-256, P-384 or P-521."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The key's certificate, as PEM.")
    ] = None,
    chain: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A certificate above it, up to the root; once for each."),
    ] = None,
    password: Annotated[bool, typer.Option("--password", help="Ask for the key's password.")] = False,
    bundle: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Send this signature, made elsewhere, instead.")
    ] = None,
    public: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --bundle: the public key, as PEM.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the signature there.")] = None,
    actor: Actor = "",
    as_json: Json = False,
) -> None:
    """Sign the files of a version here, and keep the signature with it; a rollout that waited for it begins."""
    from homeostat.engine.registry import signing

    if (key is None) == (bundle is None) or (bundle is None) != (public is None):
        raise BadRequest("sign needs a key, or a signature", remedy="Give --key, or --bundle with --public")
    for file in (key, certificate, *(chain or ()), bundle, public):
        if file is not None and not file.is_file():
            raise NotFound(f"there is no file {file}", remedy="Name the PEM file")
    named = version_of(ref)
    with session.homeostat() as homeostat, TemporaryDirectory(prefix="homeostat-") as made:
        number, digest, files = _fetched(homeostat, named, Path(made))
        if key is not None:
            secret = typer.prompt("Password of the key", hide_input=True, err=True) if password else None
            signed = signing.sign(
                files, key, password=secret, certificate=certificate, chain=tuple(chain or ())
            )
        else:
            assert bundle is not None
            assert public is not None
            signed = signing.Signed(bundle=bundle.read_text("utf-8"), public=public.read_text("utf-8"))
        by = signing.signer(signed)
        found = homeostat.sign(
            named.name,
            str(number),
            bundle=signed.bundle,
            public=signed.public,
            digest=digest,
            actor=actor,
        )
    if out is not None:
        out.write_text(signed.bundle, "utf-8")
    if as_json:
        print_json(found)
        return
    trusted = by.certificates[-1] if by.certificates else by.key
    digest = f" ({found.digest})" if found.digest else ""
    typer.echo(f"Signed {Ref('model', found.model).at(found.version)}{digest} with the key {by.key}.")
    if found.policy is None or trusted not in found.policy.keys.values():
        typer.echo(f'To ask for it: hs.Model(…, signed=hs.signed_by({{"release": "{trusted}"}}))')
    _tell(found)


def verify(
    session: Session,
    ref: Version,
    public: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Verify here, with this public key or root certificate (PEM)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify the signatures of a version over its files. Exit status 1: it is not signed as it is to be."""
    named = version_of(ref)
    with session.homeostat() as homeostat:
        found = homeostat.signatures(named.name, named.version)
        if public is not None:
            _verify_here(homeostat, named, public)
    if as_json:
        print_json(found)
    else:
        rows = [
            [
                one.key,
                ", ".join(one.names),
                one.actor,
                moment(one.at),
                one.problem or "holds",
            ]
            for one in found.signatures
        ]
        if rows:
            print_table(["key", "named", "who", "when", "verdict"], rows)
        if public is not None:
            typer.echo(f"Verified here, with {public}.")
        _tell(found)
    holds = [one for one in found.signatures if not one.problem]
    if found.missing or (not holds and public is None) or len(holds) < len(found.signatures):
        raise typer.Exit(1)


def _verify_here(homeostat: Client | Direct, named: Ref, public: Path) -> None:
    """Verify on this machine, trusting this file alone."""
    from homeostat.engine.registry import signing

    if not public.is_file():
        raise NotFound(f"there is no file {public}", remedy="Name the PEM file")
    trusted = signing.fingerprint(public.read_text("utf-8"))
    problems = []
    with TemporaryDirectory(prefix="homeostat-") as made:
        number, _, files = _fetched(homeostat, named, Path(made))
        for one in homeostat.bundles(named.name, str(number)):
            try:
                signing.verify(files, signing.Signed(**one), trusted)
            except Unsafe as error:
                problems.append(error.message)
            else:
                return
    why = "; ".join(problems) or "nobody has signed it"
    raise Unsafe(
        f"{named.kind}/{named.name}@{number} is not signed by {public}: {why}", remedy="Do not use it"
    )


def _fetched(homeostat: Client | Direct, named: Ref, folder: Path) -> tuple[int, str, Tree]:
    """A version's number, digest and files, in a folder; the files are those of the digest."""
    from homeostat.app.registry.trees import read_tree
    from homeostat.domain.digests import digest_file
    from homeostat.engine.registry import package

    record = homeostat.version(named.name, named.version).record
    homeostat.export(named.name, folder, str(record.version), layout="package")
    files, digests = read_tree(folder), {}
    for name in files:
        with files.open(name) as file:
            digests[name] = digest_file(file)
    found = package.digest({"files": digests})
    if record.digest and found != record.digest:
        ref = Ref("model", record.model).at(record.version)
        raise Unsafe(f"the files of {ref} have the digest {found}, not {record.digest}", remedy="Do not sign")
    return record.version, record.digest, files


def _tell(found: Signatures) -> None:
    ref = Ref("model", found.model).at(found.version)
    if found.policy is None:
        told = "is signed" if any(not one.problem for one in found.signatures) else "is not signed"
        typer.echo(f"{ref} {told}; its project asks for no signature.")
    elif found.missing:
        typer.echo(
            f"{ref} waits for {found.missing} more of {found.policy.by}: {', '.join(found.policy.keys)}."
        )
    else:
        typer.echo(f"{ref} is signed as its project asks.")
