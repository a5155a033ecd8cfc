"""One TLS context for all connections of a client."""

from __future__ import annotations

import os
import ssl
from typing import Union

from requests.adapters import DEFAULT_CA_BUNDLE_PATH

from cloudllm_sync.errors import ConfigurationError
from cloudllm_sync.transport.forks import no_fork
from cloudllm_sync.transport.sockets import CallSSLContext

__all__ = ["Cert", "Verify", "tls_context"]

Verify = Union[bool, str]
Cert = Union[str, tuple[str, str], None]


def tls_context(verify: Verify, cert: Cert) -> ssl.SSLContext:
    """The context that `verify` and `cert` mean, as in requests.

    Args:
        verify: True for `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` or else certifi's store, False for
            no check at all, or the path of a bundle or a folder of certificates.
        cert: A client certificate's path, or its path and its key's.

    Raises:
        ConfigurationError: A file that is not there or cannot be loaded.
    """
    with no_fork:
        context = CallSSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if verify is True:
        verify = (
            os.environ.get("REQUESTS_CA_BUNDLE")
            or os.environ.get("CURL_CA_BUNDLE")
            or DEFAULT_CA_BUNDLE_PATH
        )
    try:
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
    except (OSError, TypeError, IndexError) as error:
        raise ConfigurationError(
            f"verify={verify!r}, cert={cert!r} cannot be loaded ({error}): give paths of PEM files"
        ) from error
    return context
