"""What the bot says."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chalicelib.bot.captions import USAGE, Concat, Count, Misunderstood, Predict
from chalicelib.catalog import ModelFile
from chalicelib.catalog.visibility import Visibility
from chalicelib.errors import PayloadTooLarge, SightloopError

if TYPE_CHECKING:
    from chalicelib.deletion.desk import DeletedAll, Deletion

PROCESSING = "Processing, please wait…"
TOO_LARGE = "That file is too large: Telegram lets me read files of up to 20 MB."
GAVE_UP = "I tried several times and could not do this. Please send it again later."
SLOW_DOWN = "That is more than I can do for one chat in a minute. Please send the rest later."
ONE_PHOTO = (
    "I got only one photo. Select two or more, send them together as an album, "
    f"and write the caption under it: {USAGE['concat']}"
)
NO_MODEL = "No model serves yet: I can only filter photos for now."
EXPIRED = "What I found on this photo is not kept any more: please send it again."
YES_DELETE = "Yes, delete it"
YES_ALL = "Yes, delete all of mine"
DELETE_ONE = (
    "Delete this photo, its boxes, and all that was said about them? That cannot be undone. "
    "What is in this chat stays until it is deleted here."
)
DELETE_ALL = (
    "Delete all photos that you sent me, with their boxes and all that was said about them, and "
    "your answers about others' photos? That cannot be undone. What is in this chat stays until it "
    "is deleted here."
)
ASKED = "Please confirm it with the button that I sent."
NOT_ASKED = "Write “delete” yourself to delete what you sent."
NOT_YOURS = "Only who sent the photo can delete it here, for 30 days: after that it is gone anyway."
NOTHING_LEFT = "Nothing is left of this photo: it is deleted already, or has expired."
DELETED = "Deleted: the photo, its boxes, and what was said about them."
WHAT_SHALL_I_DO = "What shall I do with it? Reply to the photo, or send it again, with one of:"

SEEN_BY: Mapping[Visibility, str] = {
    Visibility.PRIVATE: "photos are seen by operators only",
    Visibility.MEMBERS: "photos are seen by people with a token",
    Visibility.PUBLIC: "anybody can see photos",
}
EXAMPLES: Mapping[str, Sequence[str]] = {
    "find what is on it": ("predict", "predict {model}"),
    "count it": ("count", "count {thing}"),
    "soften it": ("blur", "blur 8"),
    "draw its edges": ("contour",),
    "turn it": ("rotate", "rotate anti-clockwise", "rotate 180", "rotate clockwise 270"),
    "sprinkle it": ("salt and pepper", "salt and pepper 0.2"),
    "make it black and white": ("segment",),
    "join an album": ("concat", "concat vertical", "concat left-to-right", "concat bottom-to-top"),
}
NEED_A_MODEL = frozenset({"find what is on it", "count it", "predict", "count"})


def examples(model: str, thing: str) -> dict[str, list[str]]:
    """Return captions that work as they stand, for a model and one of its classes.

    Without a model, only what needs none.
    """
    return {
        what: [caption.format(model=model, thing=thing) for caption in captions]
        for what, captions in EXAMPLES.items()
        if model or what not in NEED_A_MODEL
    }


def welcome(model: str, thing: str) -> str:
    """Greet, and list what can be done.

    Parameters
    ----------
    model, thing : str
        A model that serves and one of its classes; empty: none does.
    """
    shown = "\n".join(
        f"• {what}: {', '.join(captions)}" for what, captions in examples(model, thing).items()
    )
    learns = (
        "Write “models” for what I can find, /help for this. If my boxes are wrong, tell me with "
        "the buttons below them: I learn from it. Photos that I look for things on are kept; "
        "“models” tells who can see them, “delete” deletes all of yours."
    )
    return (
        "Hello! Send me a photo with a caption, and I do what it says:\n\n"
        f"{shown}\n\n"
        "You can also reply to any photo here, mine too, with such words. "
        f"{learns if model else NO_MODEL}"
    )


def how_to_begin(*, serves: bool) -> str:
    """Answer what is no command, with an example that works: whether a model serves decides."""
    return (
        f"I did not understand that. Send a photo with a caption such as {_an_example(serves)}, "
        "or write /help for all that I can do."
    )


def not_a_picture(*, serves: bool) -> str:
    """Answer what cannot be looked at, as above."""
    return (
        "I can only look at photos, or at pictures sent as files: JPEG, PNG, WebP or BMP. "
        f"Send one with a caption such as {_an_example(serves)}."
    )


def what_to_do(*, serves: bool) -> str:
    """Answer a photo that came without words, with all that works."""
    works = [usage for name, usage in USAGE.items() if serves or name not in NEED_A_MODEL]
    return "\n".join([*([] if serves else [NO_MODEL]), WHAT_SHALL_I_DO, *works])


def how_it_is_written(wish: Misunderstood) -> str:
    """Answer a command whose parameters cannot be."""
    return f"{wish.fault}. It is written: {wish.usage}"


def banned(since: str, appeal: str) -> str:
    """Refuse who is banned."""
    return f"You have been shut out since {since}. To have that looked at again: {appeal}."


def models(known: Sequence[tuple[str, Sequence[str], Visibility]]) -> str:
    """List models with their classes, and who may see the photos that are sent to them."""
    if not known:
        return NO_MODEL
    lines = [
        f"• {name}: {_some(classes)} ({SEEN_BY[visibility]})" for name, classes, visibility in known
    ]
    return "\n".join(["Write one of these behind “predict”:", *lines])


def no_such_model(wish: Predict | Count, live: Sequence[ModelFile]) -> str:
    """Answer where there is no model for what is wanted."""
    if not live:
        return NO_MODEL
    named = wish.model if isinstance(wish, Predict) else wish.class_name
    return f"There is no model “{named}”. There are: {_some([file.name for file in live])}."


def why(error: SightloopError) -> str:
    """Answer a file that cannot be used."""
    return TOO_LARGE if isinstance(error, PayloadTooLarge) else sentence(error.detail)


def sentence(detail: str) -> str:
    """Return an error's detail as a sentence.

    >>> sentence("the picture breaks off")
    'The picture breaks off.'
    """
    return f"{detail[:1].upper()}{detail[1:]}" + ("" if detail.endswith((".", "!", "?")) else ".")


def summary(
    answer: Mapping[str, Any], class_names: Sequence[str], others: Sequence[str] = ()
) -> str:
    """Tell how many there are of each class, and how sure the model is.

    Parameters
    ----------
    answer : mapping
        A detection answer.
    class_names : Sequence[str]
        All that the model knows.
    others : Sequence[str]
        Models that could have been asked instead.
    """
    found = answer["detections"]
    counts = Counter(each["class_name"] for each in found)
    lines = [_of_class(name, found, count) for name, count in counts.most_common()]
    lines = lines or [f"No {_some(class_names, 'or')} found."]
    asked = f"({answer['model']}, version {answer['version']})"
    choice = [f"You can also write “predict” and one of: {_some(others)}."] if others else []
    return "\n".join([*lines, asked, *choice])


def counted(answer: Mapping[str, Any], class_names: Sequence[str], wanted: str | None) -> str:
    """Tell how many there are of each class, or of the one that was asked for."""
    counts = Counter(each["class_name"] for each in answer["detections"])
    if wanted is None:
        lines = [f"{name}: {count}" for name, count in counts.most_common()]
        return "\n".join(lines) or summary(answer, class_names)
    name = class_meant(wanted, class_names)
    if name is None:
        return f"{answer['model']} knows no {wanted}: it knows {_some(class_names, 'and')}."
    return f"{wanted}: {counts[name]}"


def class_meant(wanted: str, class_names: Sequence[str]) -> str | None:
    """Return the class that a word means, in the singular or plural, in any case.

    One that is called just so comes before one whose plural it is.

    >>> class_meant("people", ["car", "Person"]), class_meant("scratches", ["scratch"])
    ('Person', 'scratch')
    >>> class_meant("buses", ["bus"]), class_meant("cars", ["bus"])
    ('bus', None)
    >>> class_meant("glasses", ["glass", "Glasses"])
    'Glasses'
    """
    said = wanted.casefold()
    named = [name for name in class_names if name.casefold() == said]
    return next((name for name in [*named, *class_names] if _means(said, name.casefold())), None)


def _means(said: str, one: str) -> bool:
    return said in {one, f"{one}s", f"{one}es"} or (said, one) == ("people", "person")


def deleted(deletion: Deletion) -> str:
    """Say that a photo is deleted, and which versions had learnt from it."""
    soon = "" if deletion.is_erased else " Its files go within half an hour."
    names = [f"{each['model']} {each['version']}" for each in deletion.versions]
    if not names:
        return f"{DELETED}{soon}"
    return f"{DELETED}{soon} Versions that learnt from it: {_some(names)}."


def deleted_all(outcome: DeletedAll) -> str:
    """Say how far the deletion of all that somebody sent is."""
    if outcome.is_finished:
        return "Deleted: all that you sent me."
    return "Being deleted: all that you sent me. The rest goes within half an hour, by itself."


def over_quota(wait_seconds: int) -> str:
    """Say when somebody who is over a quota may go on.

    >>> over_quota(1), over_quota(90)[-13:]
    ('That is more than I can do for you just now. Please try again in 1 second.', 'in 2 minutes.')
    """
    minutes = math.ceil(wait_seconds / 60)
    wait = _number(wait_seconds, "second") if wait_seconds < 60 else _number(minutes, "minute")
    return f"That is more than I can do for you just now. Please try again in {wait}."


def _number(amount: int, unit: str) -> str:
    return f"{amount} {unit}" if amount == 1 else f"{amount} {unit}s"


def joined(wish: Concat, photos: int) -> str:
    """Caption photos that were joined; tell what was made of words that disagreed."""
    return f"{photos} photos, joined. {wish.note}".strip()


def _an_example(serves: bool) -> str:
    return "“predict”" if serves else "“contour”"


def _of_class(name: str, found: Sequence[Mapping[str, Any]], count: int) -> str:
    sure = sorted(
        (each["confidence"] for each in found if each["class_name"] == name), reverse=True
    )
    shown = ", ".join(f"{share:.0%}" for share in sure[:10])
    return f"{name}: {count} ({shown}{', …' if count > len(sure[:10]) else ''})"


def _some(names: Sequence[str], last: str = "") -> str:
    shown = list(names[:8])
    if len(names) > len(shown):
        return f"{', '.join(shown)} and {len(names) - len(shown)} more"
    if last and len(shown) > 1:
        return f"{', '.join(shown[:-1])} {last} {shown[-1]}"
    return ", ".join(shown)
