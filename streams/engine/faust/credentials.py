"""The cluster's credentials for the clients that Faust creates itself."""

from __future__ import annotations

from faust.auth import OAuthCredentials, SASLCredentials, SSLCredentials
from faust.types.auth import CredentialsT

from streams.kafka.cluster import Cluster


def credentials_of(cluster: Cluster) -> CredentialsT | None:
    """What Faust calls credentials; None where the cluster asks for none."""
    security = cluster.security
    context = security.get("ssl_context")
    mechanism = security.get("sasl_mechanism")
    if mechanism is None:
        return SSLCredentials(context) if context is not None else None
    if "sasl_oauth_token_provider" in security:
        return OAuthCredentials(oauth_cb=security["sasl_oauth_token_provider"], ssl_context=context)
    return SASLCredentials(
        username=security["sasl_plain_username"],
        password=security["sasl_plain_password"],
        mechanism=mechanism,
        ssl_context=context,
    )
