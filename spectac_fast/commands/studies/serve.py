"""`spectac serve`: a DICOM node that corrects what it is sent."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from spectac_fast.commands import _flags
from spectac_fast.errors import SetupError, UsageError

if TYPE_CHECKING:
    import ssl


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--spool", type=Path, required=True, metavar="DIR", help="folder for studies under way")
    parser.add_argument("--aet", type=_ae_title, default="SPECTAC", help="AE title of this node (default: SPECTAC)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine only)"
    )
    parser.add_argument("--port", type=int, default=11112, help="port to listen on (default: 11112)")
    parser.add_argument("--forward", metavar="AET@HOST:PORT", help="where AC series go (default: kept in the spool)")
    parser.add_argument(
        "--allow", type=_ae_title, nargs="+", default=[], metavar="AET", help="calling AE titles (default: all)"
    )
    parser.add_argument(
        "--projections",
        choices=("none", "chang", "mu", "predicted"),
        metavar="none|chang|mu|predicted",
        help="reconstruct projections, too: NC slices, and AC slices as `spectac reconstruct --ac` makes them, by mu "
        "with the NM attenuation map of the same study (default: projections are left alone)",
    )
    parser.add_argument(
        "--stable",
        type=_flags.positive_float,
        default=20.0,
        metavar="S",
        help="a study is complete after so many seconds without a new object (default: 20)",
    )
    parser.add_argument(
        "--give-up",
        type=_flags.positive_float,
        default=48.0,
        metavar="H",
        help="hours after which an unsent study is set aside (default: 48)",
    )
    parser.add_argument(
        "--associations", type=_flags.positive_int, default=10, metavar="N", help="senders at a time (default: 10)"
    )
    parser.add_argument(
        "--max-object", type=_flags.positive_int, default=64, metavar="MIB", help="largest object (default: 64 MiB)"
    )
    parser.add_argument(
        "--tls-cert", type=Path, metavar="FILE", help="own certificate, PEM; turns TLS on for what comes in"
    )
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key, PEM")
    parser.add_argument(
        "--tls-ca", type=Path, metavar="FILE", help="authorities that senders' certificates must come from"
    )
    parser.add_argument("--forward-tls", action="store_true", help="send by TLS too, with the same certificate")
    _flags.add_model(parser)
    _flags.add_department(parser)
    _flags.add_sampling(parser)
    _flags.add_device(parser)


def run(args: argparse.Namespace) -> int:
    try:
        import pynetdicom  # noqa: F401 - the extra is there or not
    except ImportError:
        raise SetupError("spectac serve needs pynetdicom: pip install 'spectac_fast[node]'.") from None
    from spectac_fast import Reconstructor, load
    from spectac_fast.correct.target import check_wanted
    from spectac_fast.models.translator import check_corrects
    from spectac_fast.node import Destination, Limits, Node, Receiver, Spool

    tls = _tls_in(args)
    forward = Destination.parse(args.forward, args.aet, _tls_out(args)) if args.forward else None
    limits = Limits(args.max_object * 2**20, args.associations)
    receiver = Receiver(Spool(args.spool), args.aet, args.host, args.port, args.allow, limits, tls)
    told = _flags.told(args)
    options = {"steps": args.steps, "samples": args.samples, "seed": args.seed, "told": told}
    translator = load(args.model, device=args.device)
    check_corrects(translator)
    check_wanted(told, translator)
    node = Node(
        receiver,
        translator,
        projections=Reconstructor(ac=args.projections) if args.projections else None,
        destination=forward,
        stable_s=args.stable,
        give_up_s=3600 * args.give_up,
        **options,
    )
    node.start()
    signal.signal(signal.SIGTERM, lambda *_: node.end())
    print(f"{args.aet} listens on {args.host}:{receiver.port}; research software, not a medical device", flush=True)
    if not _is_loopback(args.host) and tls is None:
        logging.warning("open to the network without TLS")
    try:
        node.wait()
    finally:
        node.stop()
    return 0


def _tls_in(args: argparse.Namespace) -> ssl.SSLContext | None:
    if args.tls_cert is None:
        if args.tls_key or args.tls_ca or args.forward_tls:
            raise UsageError("--tls-key, --tls-ca and --forward-tls: expected --tls-cert too, found none.")
        return None
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, args)
    if args.tls_ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _tls_out(args: argparse.Namespace) -> ssl.SSLContext | None:
    if not args.forward_tls:
        return None
    import ssl

    context = ssl.create_default_context(cafile=str(args.tls_ca) if args.tls_ca else None)
    _load(context, args)
    return context


def _load(context: ssl.SSLContext, args: argparse.Namespace) -> None:
    try:
        context.load_cert_chain(args.tls_cert, args.tls_key)
        if args.tls_ca:
            context.load_verify_locations(args.tls_ca)
    except OSError as error:
        raise SetupError(
            f"{args.tls_cert}: cannot be used for TLS ({error.strerror or type(error).__name__})."
        ) from None


def _ae_title(text: str) -> str:
    """argparse type: 1 to 16 printable characters without a backslash."""
    title = text.strip()
    if not 1 <= len(title) <= 16 or not title.isascii() or not title.isprintable() or "\\" in title:
        raise argparse.ArgumentTypeError(f"expected an AE title of 1 to 16 characters, found {text!r}")
    return title


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
