"""Who may be shown the photos that a model's contributors send: pure values.

The setting of a model is in its `model.yaml`. Each photo keeps the setting that its sender was
promised; what is shown is limited by both, so that a wider setting exposes no earlier photo.
"""

from __future__ import annotations

from enum import StrEnum

from chalicelib.callers import is_member, is_operator

SHOWN_TO = (
    "who may be shown the photos that its contributors send; private: operators and the sender; "
    "members: callers with a token; public: anybody"
)


class Visibility(StrEnum):
    """Who may be shown the photos of a model, narrowest first."""

    PRIVATE = "private"
    MEMBERS = "members"
    PUBLIC = "public"

    @property
    def breadth(self) -> int:
        """0 for the narrowest."""
        return list(Visibility).index(self)

    def narrower(self, other: Visibility) -> Visibility:
        """Return the narrower of two.

        >>> Visibility.PUBLIC.narrower(Visibility.MEMBERS).value
        'members'
        """
        return min(self, other, key=lambda each: each.breadth)

    @classmethod
    def parse(cls, text: object) -> Visibility:
        """Return the visibility that a stored text names; anything else is private."""
        try:
            return cls(str(text))
        except ValueError:
            return cls.PRIVATE


class Audience(StrEnum):
    """Kinds of callers, by what a model's visibility lets them see."""

    ANYBODY = "anybody"
    MEMBER = "member"
    OPERATOR = "operator"

    @classmethod
    def of(cls, caller: str) -> Audience:
        """Return the kind of a caller, named as ``web.identity.caller`` does.

        >>> Audience.of("operator:ann").value, Audience.of("203.0.113.7").value
        ('operator', 'anybody')
        """
        if is_operator(caller):
            return cls.OPERATOR
        return cls.MEMBER if is_member(caller) else cls.ANYBODY

    def promises(self, setting: Visibility) -> frozenset[Visibility]:
        """Return the promises under which a photo was sent that this caller may be shown.

        Parameters
        ----------
        setting : Visibility
            Of the photo's model, at present.
        """
        if self is Audience.OPERATOR:
            return frozenset(Visibility)
        least = Visibility.MEMBERS if self is Audience.MEMBER else Visibility.PUBLIC
        if setting.breadth < least.breadth:
            return frozenset()
        return frozenset(each for each in Visibility if each.breadth >= least.breadth)

    def may_see(self, setting: Visibility, promise: Visibility) -> bool:
        """Tell whether this caller may be shown a photo that somebody else sent."""
        return promise in self.promises(setting)
