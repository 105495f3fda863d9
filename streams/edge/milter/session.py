"""One connection of an MTA: the SMTP session that it describes, frame by frame, and what is answered."""

from __future__ import annotations

from typing import Final

from streams.edge.client import Answer, Client, Connector, Message
from streams.edge.milter import codec
from streams.edge.milter.attribution import MACROS, UnattributedError, client_of, source_ip, text_of
from streams.edge.milter.codec import ACCEPT, CONTINUE, ProtocolError
from streams.edge.milter.telemetry import MilterTelemetry
from streams.edge.ports import MailDoor

MAX_LINES: Final = 2_000
MAX_LINE_BYTES: Final = 1 << 20
"""Of the header lines of a message that are kept; what comes beyond is not looked at."""
MAX_VALUE_BYTES: Final = 2_048
"""Of a greeting, or of a macro: what is cut has no more sense anyway, and the event holds less."""
HEADER_NAME: Final = "X-TES"

_NEW, _READY, _CONNECTED, _MESSAGE, _ENDING = 1, 2, 4, 8, 16
"""Nothing was negotiated yet; no client; a client without a message; a message; a message behind its headers."""
_OPEN: Final = _CONNECTED | _MESSAGE | _ENDING
_NEGOTIATED: Final = _READY | _OPEN
_RECEIVED, _MESSAGE_ID, _QUEUE_ID = b"received", b"message-id", b"i"
_KEPT_MACROS: Final = MACROS | {_QUEUE_ID}
_OF_MESSAGE: Final = (codec.RCPT, codec.DATA, codec.HEADER, codec.END_OF_HEADERS, codec.BODY, codec.END_OF_BODY)
"""Commands whose macros are of one message only; those of MAIL come before it begins."""
_STATES: Final = {
    codec.OPTNEG: _NEW,
    codec.MACRO: _NEGOTIATED,
    codec.CONNECT: _READY,
    codec.HELO: _OPEN,
    codec.MAIL: _OPEN,
    codec.RCPT: _MESSAGE,
    codec.DATA: _MESSAGE,
    codec.UNKNOWN: _OPEN,
    codec.HEADER: _MESSAGE,
    codec.END_OF_HEADERS: _MESSAGE,
    codec.BODY: _ENDING,
    codec.END_OF_BODY: _ENDING,
    codec.ABORT: _NEGOTIATED,
    codec.QUIT: _NEW | _NEGOTIATED,
    codec.QUIT_NEW_CONNECTION: _NEGOTIATED,
}
"""The states in which each command may come."""
_UNANSWERED: Final = frozenset((codec.OPTNEG, codec.MACRO, codec.ABORT, codec.QUIT, codec.QUIT_NEW_CONNECTION))


class _Message:
    """What is kept of a message while it comes in."""

    def __init__(self) -> None:
        self.recipients = 0
        self.message_id: bytes | None = None
        self._received: list[bytes] = []
        self._room = MAX_LINE_BYTES

    def keep(self, line: bytes) -> None:
        self._room -= len(line)
        if self._room >= 0 and len(self._received) < MAX_LINES:
            self._received.append(line)

    def seen(self, queue_id: str | None) -> Message:
        message_id = None if self.message_id is None else text_of(self.message_id).strip()
        return Message(tuple([text_of(line) for line in self._received]), message_id, self.recipients, queue_id)


class Session:
    """Answers the frames of one connection, in their order."""

    def __init__(self, door: MailDoor, telemetry: MilterTelemetry) -> None:
        self._door, self._telemetry = door, telemetry
        self._state = _NEW
        self._answers_headers = self._may_add_header = False
        self._macros: dict[int, dict[bytes, bytes]] = {}
        self._last_macros = b""
        self._address: str | None = None
        self._helo = b""
        self._client: Client | None = None
        self._connector: Connector | None = None
        self._message = _Message()
        self._header_value = ""
        self.is_finished = False

    @property
    def is_in_message(self) -> bool:
        """Whether the MTA waits for the answer to a message."""
        return bool(self._state & (_MESSAGE | _ENDING))

    def receive(self, command: int, content: bytes) -> bytes:
        """The frames that answer a frame, none of them where it has no answer.

        Raises:
            ProtocolError: it is not one that an MTA sends now; the session is at its end.
        """
        states = _STATES.get(command)
        if states is None:
            raise ProtocolError(f"command {command:#04x}: unknown")
        if not self._state & states:
            raise ProtocolError(f"command {chr(command)}: out of order")
        try:
            return self._handle(command, content)
        except ProtocolError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, mail goes on
            self._telemetry.failed("milter", error)
            return self._accept_after_fault(command)

    def _handle(self, command: int, content: bytes) -> bytes:
        match command:
            case codec.MACRO:
                return self._macro_values(content)
            case codec.HEADER:
                return self._header(content)
            case codec.OPTNEG:
                return self._options(content)
            case codec.CONNECT:
                return self._connect(content)
            case codec.HELO:
                return self._greet(content)
            case codec.MAIL:
                return self._mail(content)
            case codec.RCPT:
                return self._recipient(content)
            case codec.END_OF_HEADERS:
                return self._end_headers()
            case codec.END_OF_BODY:
                return self._end_body()
            case codec.ABORT:
                return self._abort()
            case codec.QUIT:
                return self._finish()
            case codec.QUIT_NEW_CONNECTION:
                return self._begin_again()
            case _:
                return CONTINUE

    def _accept_after_fault(self, command: int) -> bytes:
        if command in _UNANSWERED or (command == codec.HEADER and not self._answers_headers):
            return b""
        self._state = _CONNECTED
        return ACCEPT

    def _options(self, content: bytes) -> bytes:
        offered = codec.parse_options(content)
        actions = codec.ADD_HEADERS if self._door.adds_header else 0
        taken = codec.Options(
            min(codec.VERSION, offered.version), actions & offered.actions, codec.STEPS & offered.steps
        )
        self._may_add_header = bool(taken.actions)
        self._answers_headers = not taken.steps & codec.NO_ANSWER_TO_HEADERS
        self._state = _READY
        return codec.options_answer(taken)

    def _macro_values(self, content: bytes) -> bytes:
        if content and content == self._last_macros:
            return b""  # Postfix says the same before each header
        command, macros = codec.parse_macros(content)
        if command in _STATES:
            # Those that came last are found first.
            self._macros.pop(command, None)
            kept = macros.keys() & _KEPT_MACROS
            self._macros[command] = {name: macros[name][:MAX_VALUE_BYTES] for name in kept}
            self._last_macros = content if len(content) <= MAX_VALUE_BYTES else b""
        return b""

    def _connect(self, content: bytes) -> bytes:
        address = codec.parse_connect(content)
        self._state = _CONNECTED
        if address is None:
            return ACCEPT
        try:
            self._address = source_ip(address)
        except UnattributedError as error:
            self._telemetry.unattributed(str(error))
            return ACCEPT
        return CONTINUE

    def _greet(self, content: bytes) -> bytes:
        self._helo = codec.parse_strings(content)[0][:MAX_VALUE_BYTES]
        self._state = _CONNECTED
        return CONTINUE

    def _mail(self, content: bytes) -> bytes:
        codec.parse_strings(content)
        self._begin_message()
        self._state = _CONNECTED
        if not self._attribute():
            return ACCEPT
        assert self._client is not None
        assert self._connector is not None
        answer = self._door.answer_mail(self._client, self._connector)
        if answer is not None and (refusal := self._refusal(answer)) is not None:
            return refusal
        self._state = _MESSAGE
        return CONTINUE

    def _recipient(self, content: bytes) -> bytes:
        codec.parse_strings(content)
        self._message.recipients += 1
        return CONTINUE

    def _header(self, content: bytes) -> bytes:
        name, value = codec.parse_header(content)
        name = name.lower()
        if name == _RECEIVED:
            self._message.keep(value)
        elif name == _MESSAGE_ID and self._message.message_id is None:
            self._message.message_id = value
        return CONTINUE if self._answers_headers else b""

    def _end_headers(self) -> bytes:
        assert self._client is not None
        assert self._connector is not None
        message = self._message.seen(self._macro(_QUEUE_ID))
        answer = self._door.answer_message(self._client, self._connector, message)
        self._state = _CONNECTED
        if (refusal := self._refusal(answer)) is not None:
            return refusal
        if answer.header is None or not self._may_add_header:
            return ACCEPT
        self._header_value, self._state = answer.header, _ENDING
        return CONTINUE

    def _end_body(self) -> bytes:
        self._state = _CONNECTED
        return codec.add_header(HEADER_NAME, self._header_value) + ACCEPT

    def _abort(self) -> bytes:
        # Comes after a connection without a client, too.
        if self._state & _OPEN:
            self._state = _CONNECTED
        self._begin_message()
        return b""

    def _begin_again(self) -> bytes:
        self._begin_message()
        self._macros.clear()
        self._address, self._helo, self._state = None, b"", _READY
        return b""

    def _finish(self) -> bytes:
        self.is_finished = True
        self._state = _READY
        return b""

    def _begin_message(self) -> None:
        self._message, self._last_macros = _Message(), b""
        for command in _OF_MESSAGE:
            self._macros.pop(command, None)

    def _attribute(self) -> bool:
        """Find whose mail this is; False where it is none of ours."""
        if self._address is None:
            return False
        try:
            self._client = client_of(self._address, text_of(self._helo), self._macro)
        except UnattributedError as error:
            self._telemetry.unattributed(str(error))
            return False
        self._connector = self._door.connector_of(self._client)
        return self._connector is not None

    def _macro(self, name: bytes) -> str | None:
        """The value that a macro had last."""
        for macros in reversed(self._macros.values()):
            if name in macros:
                return text_of(macros[name])
        return None

    def _refusal(self, answer: Answer) -> bytes | None:
        if answer.reply is None:
            return None
        try:
            return codec.reply_answer(answer.reply)
        except ValueError as error:
            self._telemetry.failed("reply", error)
            return None
