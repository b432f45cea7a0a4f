"""The chat window's side of the stand-in: `/bot` and what the page there asks for.

Nothing of this is on AWS, where people write to the bot in Telegram's own apps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from python_multipart import parse_form
from python_multipart.exceptions import FormParserError

from chalicelib.bot.words import EXAMPLES
from chalicelib.errors import InvalidRequest, MethodNotAllowed, NotFound
from chalicelib.web.routes import MEDIA_TYPES, content_security_policy, dressed
from local.telegram.objects import LONGEST_CAPTION, Refused
from local.telegram.seen import OTHER, as_photo, kind_of, seen
from local.telegram.world import LONGEST_TEXT, World

Json = dict[str, Any]

ADDRESS = "/bot"
PAGE = Path(__file__).with_name("page")
PEOPLE = {1001: "Ann", 1002: "Ben", 1003: "Cleo"}
GROUP = -1100
LARGEST_PERSON = 2**52  # as Telegram has it: below that
MOST_IN_AN_ALBUM = 10
WATCH_SECONDS = 20.0


@dataclass(frozen=True)
class Asked:
    """A request: its path and query, its body and what that is."""

    path: str
    query: Mapping[str, list[str]]
    kind: str
    body: bytes

    def first(self, name: str, otherwise: str) -> str:
        """Return a parameter of the query."""
        return self.query.get(name, [otherwise])[0]


@dataclass(frozen=True)
class Answer:
    """What goes back over HTTP."""

    body: bytes
    headers: Mapping[str, str]
    status: int = 200


@dataclass
class Sent:
    """A form that somebody sent: its fields, and its files with name and media type."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[tuple[str, str, bytes]] = field(default_factory=list)

    @classmethod
    def parse(cls, kind: str, body: bytes) -> Sent:
        """Read a form.

        Raises
        ------
        InvalidRequest
        """
        sent = cls()
        headers = {"Content-Type": kind.encode(), "Content-Length": str(len(body)).encode()}
        try:
            parse_form(headers, BytesIO(body), sent._keep_field, sent._keep_file)
        except FormParserError as error:
            raise InvalidRequest(f"the body is no form: {error}") from None
        return sent

    def _keep_field(self, given: Any) -> None:
        name = given.field_name.decode("utf-8", "replace")
        self.fields[name] = (given.value or b"").decode("utf-8", "replace")

    def _keep_file(self, given: Any) -> None:
        given.file_object.seek(0)
        name = (given.file_name or b"file").decode("utf-8", "replace")
        self.files.append((name, given.content_type or OTHER, given.file_object.read()))


class Window:
    """Answers the page.

    Parameters
    ----------
    world : World

    Attributes
    ----------
    address : str
        Of the page.
    name : str
        By which others link to it.
    """

    address = ADDRESS
    name = "Bot"

    def __init__(self, world: World) -> None:
        self._world = world

    def serves(self, target: str) -> bool:
        """Tell whether an address is the page's or below it."""
        path = urlsplit(target).path
        return path == ADDRESS or path.startswith(f"{ADDRESS}/")

    def answer(self, method: str, target: str, kind: str, body: bytes) -> Answer:
        """Answer a request.

        Parameters
        ----------
        target : str
            Path and query.
        kind : str
            The body's media type.

        Raises
        ------
        InvalidRequest, NotFound, MethodNotAllowed
        """
        parts = urlsplit(target)
        asked = Asked(parts.path, parse_qs(parts.query), kind, body)
        path = unquote(parts.path).removeprefix(ADDRESS).strip("/")
        taken = [(m, a, f) for m, p, a in _ROUTES if (f := re.fullmatch(p, path))]
        for wanted, act, found in taken:
            if wanted == method:
                try:
                    return act(self, asked, *found.groups())
                except Refused as error:
                    raise InvalidRequest(error.description) from None
        if taken:
            raise MethodNotAllowed(f"{method} is not taken here")
        raise NotFound(f"there is nothing at {parts.path!r}")

    def _page(self, asked: Asked) -> Answer:
        page = dressed((PAGE / "bot.html").read_bytes(), ADDRESS, asked.path)
        headers = {"Content-Security-Policy": content_security_policy()}
        return _kept("text/html; charset=utf-8", page, headers)

    def _static(self, asked: Asked, name: str) -> Answer:
        file = PAGE / name
        if not file.is_file():
            raise NotFound(f"there is no file {name!r}")
        return _kept(f"{MEDIA_TYPES[file.suffix]}; charset=utf-8", file.read_bytes())

    def _about(self, asked: Asked) -> Answer:
        people = [{"id": number, "name": name} for number, name in PEOPLE.items()]
        chats = {"people": people, "last_person": LARGEST_PERSON - 1, "group": GROUP}
        return _json({"bot": self._world.bot_name, **chats, "examples": EXAMPLES})

    def _events(self, asked: Asked, chat: str) -> Answer:
        """Tell what happened in a chat after what was read, as soon as something did."""
        number, journal = _chat(chat), self._world.journal
        same = asked.first("run", "") == journal.run
        read = _number(asked.first("after", "0")) if same else 0
        events, until = journal.after(number, read, WATCH_SECONDS if same else 0)
        changed = dict.fromkeys(event for event in events if isinstance(event, int))
        messages = [seen(self._world.message(number, each)) for each in changed]
        toasts = [event for event in events if not isinstance(event, int)]
        told = {"run": journal.run, "until": until}
        return _json({**told, "messages": messages, "toasts": toasts})

    def _file(self, asked: Asked, name: str) -> Answer:
        file = self._world.files.get(name)
        if file is None:
            raise NotFound("there is no such file: the stand-in forgets all when it ends")
        kind = kind_of(file)
        disposition = {"Content-Disposition": "attachment"} if kind == OTHER else {}
        forever = {"Cache-Control": "private, max-age=31536000, immutable"}
        return Answer(file, {"Content-Type": kind, **NO_SNIFFING, **forever, **disposition})

    def _write(self, asked: Asked, chat: str) -> Answer:
        """Send a text, a photo or file with a caption, or several as an album."""
        number, form = _chat(chat), Sent.parse(asked.kind, asked.body)
        more: Json = {"person": _person(number, form.fields.get("person", ""))}
        if form.fields.get("reply_to"):
            replied = self._world.message(number, _number(form.fields["reply_to"]))
            more["reply_to_message"] = replied
        said = form.fields.get("text", "").strip()
        if not form.files:
            self._world.write(number, _checked(said, LONGEST_TEXT), **more)
        else:
            self._send_files(number, form, said, more)
        return _json({})

    def _send_files(self, chat: int, form: Sent, caption: str, more: Json) -> None:
        if len(form.files) > MOST_IN_AN_ALBUM:
            raise InvalidRequest(f"an album has {MOST_IN_AN_ALBUM} photos at most")
        if caption:
            _checked(caption, LONGEST_CAPTION)
        as_file = form.fields.get("as_file") == "yes"
        content = [each if as_file else _photo(each) for each in form.files]  # all, or none
        album = self._world.new_album() if len(content) > 1 else {}
        for name, kind, file in content:
            documented = {"as_document": kind, "file_name": name} if as_file else {}
            self._world.send_photo(chat, file, caption, **documented, **album, **more)
            caption = ""  # it stands under the first

    def _rewrite(self, asked: Asked, chat: str, message: str) -> Answer:
        """Change the words of a message, as those who wrote it can in Telegram."""
        number, form = _chat(chat), Sent.parse(asked.kind, asked.body)
        said = form.fields.get("text", "").strip()
        in_words = "text" in self._world.message(number, _number(message))
        if in_words or len(said) > LONGEST_CAPTION:
            _checked(said, LONGEST_TEXT if in_words else LONGEST_CAPTION)
        self._world.rewrite(number, _number(message), said)
        return _json({})

    def _press(self, asked: Asked, chat: str) -> Answer:
        number = _chat(chat)
        try:
            told = json.loads(asked.body)
            message, data, person = int(told["message"]), str(told["data"]), told.get("person", "")
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise InvalidRequest("the body is not {message, data, person}") from None
        pressed = self._world.press(number, message, data, _person(number, str(person)))
        return _json({"query": pressed["callback_query"]["id"]})


NO_SNIFFING = {"X-Content-Type-Options": "nosniff"}
_ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
    ("GET", "", Window._page),
    ("GET", r"([a-z]+\.(?:js|css))", Window._static),
    ("GET", "about", Window._about),
    ("GET", r"files/([0-9a-f]{32})", Window._file),
    ("GET", r"chats/([^/]+)/events", Window._events),
    ("POST", r"chats/([^/]+)/messages", Window._write),
    ("POST", r"chats/([^/]+)/messages/([0-9]+)", Window._rewrite),
    ("POST", r"chats/([^/]+)/presses", Window._press),
)


def _kept(kind: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    stale = {"Content-Type": kind, "Cache-Control": "no-cache", **NO_SNIFFING}
    return Answer(body, {**stale, **(headers or {})})


def _json(told: Json) -> Answer:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store", **NO_SNIFFING}
    return Answer(json.dumps(told).encode(), headers)


def _chat(text: str) -> int:
    """Return a chat's number: of the group, or of whoever it is that chats alone."""
    number = _number(text)
    if number != GROUP and not 0 < number < LARGEST_PERSON:
        raise NotFound(f"there is no chat {text}")
    return number


def _person(chat: int, text: str) -> int:
    """Return who acts in a chat: in a private one its only person."""
    person = chat if chat > 0 else _number(text)
    if not 0 < person < LARGEST_PERSON:
        raise InvalidRequest(f"there is no person {text!r}")
    return person


def _number(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise InvalidRequest(f"{text!r} is not a number")
    return int(text)


def _checked(said: str, longest: int) -> str:
    if not said:
        raise InvalidRequest("there is nothing to send: write something, or add a photo")
    if len(said) > longest:
        raise InvalidRequest(f"{len(said)} characters are too many: {longest} at most")
    return said


def _photo(file: tuple[str, str, bytes]) -> tuple[str, str, bytes]:
    name, kind, content = file
    try:
        return name, kind, as_photo(content)
    except InvalidRequest as error:
        raise InvalidRequest(f"“{name}”: {error.detail}") from None
