"""What a checkpoint keeps of the data: where their stream is."""

from typing import Protocol

from invseg_jax.files.json_values import JsonObject


class Resumable(Protocol):
    """A stream that can be stopped and resumed, such as Grain's iterators."""

    def get_state(self) -> JsonObject:
        """Where the stream is, as values that JSON can hold."""
        ...

    def set_state(self, state: JsonObject) -> None:
        """Puts the stream where another one was."""
        ...
