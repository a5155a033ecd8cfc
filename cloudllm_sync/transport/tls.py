"""One TLS context for all connections that trust the same."""

from __future__ import annotations

import os
import ssl
from typing import Literal, Union

from requests.adapters import DEFAULT_CA_BUNDLE_PATH

from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.transport.forks import no_fork
from cloudllm_sync.transport.sockets import CallSSLContext

__all__ = ["Cert", "Verify", "tls_context"]

Verify = Union[bool, str]
Cert = Union[str, tuple[str, str], None]


# By what is trusted: when it was loaded, and the context. Single dict operations only.
_loaded: dict[Union[bool, str], tuple[object, ssl.SSLContext]] = {}
_MOST_LOADED = 32


def tls_context(verify: Verify, cert: Cert) -> ssl.SSLContext:
    """The context that `verify` and `cert` mean, as in requests.

    Without a `cert` it is one for all clients that trust the same: loading certifi's store takes
    17 ms of CPU, a handshake 3. A file that has changed is loaded anew for clients made after that.

    Args:
        verify: True for `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` or else certifi's store, False for
            no check at all, or the path of a bundle or a folder of certificates.
        cert: A client certificate's path, or its path and its key's.

    Raises:
        ConfigurationError: A file that is not there or cannot be loaded.
    """
    if verify is True:
        verify = (
            os.environ.get("REQUESTS_CA_BUNDLE")
            or os.environ.get("CURL_CA_BUNDLE")
            or DEFAULT_CA_BUNDLE_PATH
        )
    try:
        return _shared(verify) if cert is None else _loaded_anew(verify, cert)
    except (OSError, TypeError, IndexError) as error:
        raise ConfigurationError(
            f"verify={verify!r}, cert={cert!r} cannot be loaded ({error}): give paths of PEM files"
        ) from error


def _shared(verify: Union[Literal[False], str]) -> ssl.SSLContext:
    stat = os.stat(verify) if verify is not False else None
    stamp = stat and (stat.st_mtime_ns, stat.st_size, stat.st_ino)
    known = _loaded.get(verify)
    if known is None or known[0] != stamp:
        if len(_loaded) >= _MOST_LOADED:
            _loaded.clear()
        known = _loaded[verify] = stamp, _loaded_anew(verify, None)
    return known[1]


def _loaded_anew(verify: Union[Literal[False], str], cert: Cert) -> ssl.SSLContext:
    with no_fork:
        context = CallSSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif os.path.isdir(verify):
        context.load_verify_locations(capath=verify)
    else:
        context.load_verify_locations(cafile=verify)
    if isinstance(cert, str):
        context.load_cert_chain(cert)
    elif cert is not None:
        context.load_cert_chain(cert[0], cert[1])
    return context
