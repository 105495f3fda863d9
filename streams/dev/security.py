"""TLS, passwords, bearer tokens and access control for the embedded Kafka, to test how clients are let in.

The broker keeps its open listener: it talks to itself there, and whoever comes in there may do everything. Beside it
are listeners for clients, one for each of `PROTOCOLS`, where an authorizer lets nobody do anything without an ACL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PROTOCOLS = ("SASL_SSL", "SASL_PLAINTEXT", "SSL")
"""The security protocols of the listeners for clients; `SSL` asks for a client certificate."""

# The broker checks bearer tokens as Kafka does where it is told nothing: without a signature. That is for tests only.
_PROPERTIES = """\
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,{protocols}
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
ssl.keystore.type=PEM
ssl.keystore.location={certificate}
ssl.truststore.type=PEM
ssl.truststore.location={authorities}
listener.name.ssl.ssl.client.auth=required
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""
_LOGIN = (
    "listener.name.{listener}.{mechanism}.sasl.jaas.config=org.apache.kafka.common.security.{module} required{users};\n"
)
_MODULES = {
    "plain": "plain.PlainLoginModule",
    "scram-sha-256": "scram.ScramLoginModule",
    "scram-sha-512": "scram.ScramLoginModule",
    "oauthbearer": "oauthbearer.OAuthBearerLoginModule",
}


@dataclass(frozen=True, slots=True)
class BrokerSecurity:
    """Whom the embedded Kafka lets in.

    `certificate_file` holds the broker's chain and its key (PKCS 8), `ca_file` who signs clients, both PEM; `users` are
    those of PLAIN and SCRAM with their passwords; SCRAM's are taken when the data directory is new.
    """

    certificate_file: Path
    ca_file: Path
    users: Mapping[str, str] = field(default_factory=dict, repr=False)

    def listeners(self, host: str, ports: list[int]) -> str:
        """What goes on after the broker's own listeners."""
        return "".join(f",{name}://{host}:{port}" for name, port in zip(PROTOCOLS, ports, strict=True))

    def properties(self) -> str:
        """The lines of the broker's configuration."""
        users = "".join(f' user_{name}="{password}"' for name, password in self.users.items())
        logins = (
            _LOGIN.format(
                listener=name.lower(), mechanism=mechanism, module=module, users=users if mechanism == "plain" else ""
            )
            for name in PROTOCOLS[:2]
            for mechanism, module in _MODULES.items()
        )
        protocols = ",".join(f"{name}:{name}" for name in PROTOCOLS)
        return _PROPERTIES.format(
            protocols=protocols, certificate=self.certificate_file.resolve(), authorities=self.ca_file.resolve()
        ) + "".join(logins)

    def format_options(self) -> list[str]:
        """What the storage tool is told about users."""
        return [
            word
            for name, password in self.users.items()
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for word in ("--add-scram", f"{mechanism}=[name={name},password={password}]")
        ]
