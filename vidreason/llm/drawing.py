"""Questions drawn by a thread of their own, so that an iterable that decodes video does not hold up the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable

from ..errors import LLMError
from .chat import Question

logger = logging.getLogger(__name__)

_END = object()
_CLOSING_TIMEOUT_S = 10.0


class QuestionSource:
    """Draws questions ahead of those who answer them, a bounded number.

    Must be made in the event loop that draws. Request hashes are computed in the thread too, which spares the loop
    a pass over each picture.

    Args:
        questions: drawn from within the thread, and closed there where it is a generator.
        max_ahead: how many may lie ready.
    """

    def __init__(self, questions: Iterable[Question], max_ahead: int):
        self._questions = questions
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Queue = asyncio.Queue()
        self._room = threading.Semaphore(max_ahead)
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="vidreason-questions", daemon=True)
        self._thread.start()

    async def draw(self) -> Question | None:
        """The next question, or None when there are no more. Several tasks may draw.

        Raises:
            Exception: what the iterable raised, once; after that there are no more.
        """
        item = await self._ready.get()
        if item is _END:
            self._ready.put_nowait(_END)  # for the next one who asks
            return None
        self._room.release()
        if isinstance(item, Exception):
            raise item
        return item

    async def close(self) -> None:
        """Draw no more and wait for the thread to be done with the question that it is at."""
        self._closing = True
        self._room.release()
        await self._loop.run_in_executor(None, self._thread.join, _CLOSING_TIMEOUT_S)

    def _run(self) -> None:
        iterator = None
        try:
            iterator = iter(self._questions)
            while True:
                self._room.acquire()
                if self._closing:
                    break
                question = next(iterator, _END)
                if question is _END:
                    break
                _ = question.request.request_hash  # cached
                self._hand_over(question)
        except Exception as error:
            self._hand_over(error)
        except BaseException as error:  # SystemExit and the like would end this thread alone and look like the end
            self._hand_over(LLMError(f"questions can no longer be drawn: {error!r}"))
        finally:
            self._hand_over(_END)
            self._close_generator(iterator)

    def _hand_over(self, item: object) -> None:
        try:
            self._loop.call_soon_threadsafe(self._ready.put_nowait, item)
        except RuntimeError:  # the loop is closed: nobody is listening any more
            self._closing = True

    @staticmethod
    def _close_generator(iterator: object) -> None:
        close = getattr(iterator, "close", None)
        if callable(close):
            try:
                close()
            except Exception:
                logger.exception("an iterator of questions could not be closed")
