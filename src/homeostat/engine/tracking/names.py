"""Names for runs that nobody named: an adjective, a noun and a number, easy to say to each other."""

from __future__ import annotations

import random
from typing import Final

_ADJECTIVES: Final = (
    "able amber brave brisk calm clever copper crisp daring deft eager early even fair fleet fond gentle glad golden"
    " grand hardy honest keen kind level light lively lucid mellow merry mild modest neat nimble noble patient plain"
    " polite prompt proud quick quiet rapid ready regal robust rustic sage serene silent silver sleek smooth snug solid"
    " stable steady still stout sunny swift tidy tranquil upbeat valiant vivid warm wise witty young"
)
_NOUNS: Final = (
    "alder ant asp auk bear bee birch boar brook carp cedar cliff clover colt condor crane crow deer delta dove dune"
    " eagle elk elm falcon fern finch fir fjord fox frog glade goose grouse gull hare hawk hazel heron hill ibis ivy"
    " jay kite koi lake lark lily lynx maple marten meadow mole moose moss newt oak orca osprey otter owl perch pine"
    " plover pond quail raven reed ridge river robin rook seal shore shrew skunk sloth snail snipe sparrow stoat stork"
    " swan teal tern thrush toad trout tuna vale vole walrus willow wolf wren yak"
)


def run_name() -> str:
    """A name such as ``calm-heron-482``. Not unique: a run has an id for that."""
    chance = random.SystemRandom()
    return f"{chance.choice(_ADJECTIVES.split())}-{chance.choice(_NOUNS.split())}-{chance.randrange(1000)}"
