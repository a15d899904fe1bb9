"""Finds how many requests to keep in flight at a server that does not say how many it works on at once.

A server with free slots answers as fast as before when it is given more; one without only makes everybody wait
longer. So a level is judged by trying another one: by Little's law what a level brings is the requests in flight
divided by the mean seconds of an answer, and the higher one is kept when that gains enough for the requests added.
Steps are large at first and after the server changed, small once neither way pays.

The comparison is a micro-experiment as in PCC Vivace (Dong et al., NSDI 2018) over Kleinrock's power (1979), which
weighs throughput against delay; the steps are those of a pattern search (Hooke and Jeeves, 1961). TCP Vegas and
Netflix's concurrency limits ask how much slower an answer is than the fastest one seen. That fails here: answers
differ in length, so the fastest says little about a queue. Instead a trial lasts until the difference is clear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_PAYS = 0.3
"""Part of the proportion that more requests must gain: of twice as many, at least 2**0.3 = 1.23 times the answers."""

_LARGEST, _SMALLEST = 2.0, 2.0**0.25
_FEWEST, _ENOUGH = 8, 96
_SKIPPED_ROUNDS = 0.5
"""Answers left out after the level changed, in levels: short ones come back first."""

_SURE = 2.0
"""Standard errors that make a difference clear."""

_LEAST_ERROR = 0.02
_CHANGED = math.log(1.25)
_USED = 0.9
_CROWDED = 2.5
"""So many times slower than it was seen, a server is not given more: others are pushing as well."""

_HOLD_WINDOWS = 4
_BACK_OFF = 0.7
_FIRST_QUIET_S, _LONGEST_QUIET_S = 10.0, 160.0
_MOMENT_S = 1.0


@dataclass(slots=True)
class _Window:
    """What came back while the level was used."""

    began: float
    n: int = 0
    seconds: float = 0.0
    """The mean."""
    squares: float = 0.0
    in_flight: float = 0.0
    """The mean."""

    def add(self, seconds: float, in_flight: int) -> None:
        self.n += 1
        off = seconds - self.seconds
        self.seconds += off / self.n
        self.squares += off * (seconds - self.seconds)
        self.in_flight += (in_flight - self.in_flight) / self.n

    @property
    def error(self) -> float:
        """Variance of the logarithm of the mean seconds."""
        spread = self.squares / (self.n - 1) / self.seconds**2 if self.n > 1 and self.seconds > 0 else 1.0
        return spread / self.n + _LEAST_ERROR**2


class Tuner:
    """The number of requests to keep in flight at one server; time is handed in.

    Args:
        start: In flight at first, 1 or more.
        most: Never more than this.
        now: Seconds on any steady clock.

    Example:
        >>> tuner = Tuner(start=8, most=64, now=0.0)
        >>> for answer in range(150):  # an answer takes a second, however many there are
        ...     tuner.came_back(1.0, in_flight=tuner.level, now=2.0 + answer)
        >>> tuner.level
        64
        >>> tuner.slow_down(now=153.0)
        >>> tuner.level
        32
    """

    def __init__(self, start: int, most: int, now: float) -> None:
        self._most = max(1, most)
        self._level = self._base = min(max(1, start), self._most)
        self._known: _Window | None = None
        """What the base brings: the level last found to pay."""
        self._fastest = math.inf
        self._factor = _LARGEST
        self._up = True
        self._tried: set[bool] = set()
        """Directions in which a step of this size did not pay; True is up."""
        self._hold_windows = 1
        self._quiet_s = _FIRST_QUIET_S
        self._quiet_until = self._refused_at = -math.inf
        self._skip = int(_SKIPPED_ROUNDS * self._level)
        self._window = _Window(now)

    @property
    def level(self) -> int:
        """Requests allowed in flight now, 1 or more."""
        return self._level

    def came_back(self, seconds: float, in_flight: int, now: float) -> None:
        """A request was answered.

        Args:
            seconds: From sending to answer.
            in_flight: Requests in flight until then, this one included. When they are clearly fewer than the level
                (no work, or another limit), or still more, this tells nothing.
            now: Seconds on the clock of the others.
        """
        if not _USED * self._level <= in_flight <= self._level:
            self._go_to(self._level, now)
        elif self._skip > 0:
            self._skip -= now - seconds >= self._window.began
        else:
            self._window.add(max(seconds, 1e-6), in_flight)
            self._look(now)

    def slow_down(self, now: float) -> None:
        """The server refused a request because there are too many; many refusals of one moment count once."""
        usual = 0.0 if self._known is None else min(self._known.seconds, _FIRST_QUIET_S)
        if now < self._refused_at + max(_MOMENT_S, usual):
            return
        self._refused_at, self._quiet_until = now, now + self._quiet_s
        self._quiet_s = min(_LONGEST_QUIET_S, 2 * self._quiet_s)
        if self._level <= self._base:
            self._base = max(1, int(_BACK_OFF * self._level))
        self._known, self._factor, self._tried = None, _SMALLEST, set()
        self._go_to(self._base, now)

    def _look(self, now: float) -> None:
        rounds = 1 if self._factor >= _LARGEST else 2
        if self._window.n < max(_FEWEST, rounds * self._level):
            return
        if self._known is not None and self._level != self._base:
            self._judge(self._known, now)
        elif self._known is not None and self._changed(self._known):
            self._search_again(self._known, now)
        else:
            self._hold(now)

    @property
    def _enough(self) -> bool:
        """Whether more answers are not worth waiting for: the difference, if any, is small."""
        return self._window.n >= min(32 * self._level, max(_ENOUGH, 4 * self._level))

    def _judge(self, known: _Window, now: float) -> None:
        """Compare the level on trial with the base, as soon as the difference is clear."""
        more = math.log(self._window.in_flight / known.in_flight)
        slower = math.log(self._window.seconds / known.seconds)
        gained = more - slower - _PAYS * more
        if abs(gained) < _SURE * math.sqrt(self._window.error + known.error) and not self._enough:
            return
        if gained <= 0:
            self._turn(now)
            return
        if self._up:
            self._quiet_s = _FIRST_QUIET_S
        self._base, self._tried = self._level, {not self._up}
        self._factor = min(_LARGEST, self._factor**2)
        self._learn()
        self._try(now)

    def _changed(self, known: _Window) -> bool:
        change = abs(math.log(self._window.seconds / known.seconds))
        return change > _CHANGED + _SURE * math.sqrt(self._window.error + known.error)

    def _search_again(self, known: _Window, now: float) -> None:
        """The server, or the work, is not what it was: large steps, the first one as large as the change."""
        slower = self._window.seconds / known.seconds
        self._factor, self._up = max(_LARGEST, slower), slower < 1
        self._tried, self._hold_windows = set(), 1
        self._learn()
        self._try(now)

    def _hold(self, now: float) -> None:
        """Stay until the base is known well enough for the next trial to be compared with it."""
        needed = _PAYS * abs(math.log(max(1, self._next()) / self._base)) / _SURE
        if self._window.error > needed**2 + _LEAST_ERROR**2 and not self._enough:
            return
        self._hold_windows -= 1
        self._learn()
        if self._hold_windows > 0:
            self._window = _Window(now)
        else:
            self._try(now)

    def _learn(self) -> None:
        self._known = self._window
        self._fastest = min(self._fastest, self._window.seconds)

    def _turn(self, now: float) -> None:
        """This way does not pay: back to the base; next the other way, then smaller steps, then a longer rest."""
        self._tried.add(self._up)
        self._hold_windows = 1
        if len(self._tried) == 1:
            self._up = not self._up
        elif self._factor > _SMALLEST:
            self._up, self._tried = True, set()
            self._factor = max(_SMALLEST, min(_LARGEST, math.sqrt(self._factor)))
        else:
            self._up, self._tried = not self._up, set()
            self._hold_windows = _HOLD_WINDOWS
        self._go_to(self._base, now)

    def _next(self) -> int:
        if self._up:
            return max(self._base + 1, round(self._base * self._factor))
        return min(self._base - 1, round(self._base / self._factor))

    def _try(self, now: float) -> None:
        wanted = min(self._most, max(1, self._next()))
        crowded = self._known is not None and self._known.seconds > _CROWDED * self._fastest
        if wanted == self._base or (wanted > self._base and (crowded or now < self._quiet_until)):
            self._turn(now)
        else:
            self._go_to(wanted, now)

    def _go_to(self, level: int, now: float) -> None:
        self._level = level
        self._skip = int(_SKIPPED_ROUNDS * level)
        self._window = _Window(now)
