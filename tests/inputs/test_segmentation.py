"""Words in the scripts of the world, written out by hand, and every letter kept."""

from __future__ import annotations

import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import assay
from assay.errors import AssayError, InputError, KindError, SettingError
from assay.inputs.segmentation import pieces_of, segmented

# What words were before other scripts were thought of: right for plain English.
_ENGLISH = re.compile(r"(\w+(?:['’]\w+)*)(\W*)|(\W+)")


def words(text: str, split: object = "words") -> list[str]:
    return [word for word, _ in pieces_of(text, split) if word]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One, two; three!", ["One", "two", "three"]),
        ("don't can’t rock'n'roll", ["don't", "can’t", "rock'n'roll"]),
        ("L'été à la plage", ["L'été", "à", "la", "plage"]),
        ("e\u0301te\u0301 a\u0300", ["e\u0301te\u0301", "a\u0300"]),
        ("Größe zählt", ["Größe", "zählt"]),
        ("Ένα ωραίο φιλμ", ["Ένα", "ωραίο", "φιλμ"]),
        ("хоро\u0301ший фильм", ["хоро\u0301ший", "фильм"]),
        ("Լավ ֆիլմ", ["Լավ", "ֆիլմ"]),
        ("კარგი ფილმი", ["კარგი", "ფილმი"]),
        ("שָׁלוֹם עוֹלָם", ["שָׁלוֹם", "עוֹלָם"]),
        ("השב״כ צה״ל", ["השב״כ", "צה״ל"]),
        ("السَّلامُ عَلَيْكُم", ["السَّلامُ", "عَلَيْكُم"]),
        ("می\u200cخواهم بروم", ["می\u200cخواهم", "بروم"]),
        ("हिन्दी में लिखा है।", ["हिन्दी", "में", "लिखा", "है"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("নমস্কার বিশ্ব", ["নমস্কার", "বিশ্ব"]),
        ("ਸਤਿ ਸ੍ਰੀ ਅਕਾਲ", ["ਸਤਿ", "ਸ੍ਰੀ", "ਅਕਾਲ"]),
        ("સરસ ફિલ્મ", ["સરસ", "ફિલ્મ"]),
        ("மிகவும் நல்ல படம்", ["மிகவும்", "நல்ல", "படம்"]),
        ("మంచి సినిమా", ["మంచి", "సినిమా"]),
        ("ಒಳ್ಳೆಯ ಚಿತ್ರ", ["ಒಳ್ಳೆಯ", "ಚಿತ್ರ"]),
        ("നല്ല സിനിമ", ["നല്ല", "സിനിമ"]),
        ("හොඳ චිත්‍රපටය", ["හොඳ", "චිත්‍රපටය"]),
        ("ሰላም ለዓለም", ["ሰላም", "ለዓለም"]),
        ("བཀྲ་ཤིས", ["བཀྲ", "ཤིས"]),
        ("한국어 영화", ["한국어", "영화"]),
        (
            unicodedata.normalize("NFD", "한국어 영화"),
            [unicodedata.normalize("NFD", "한국어"), unicodedata.normalize("NFD", "영화")],
        ),
        # Without spaces there are no words but in a dictionary: letters with their marks.
        ("我喜欢巴黎，真的。", ["我", "喜", "欢", "巴", "黎", "真", "的"]),
        ("この映画は", ["こ", "の", "映", "画", "は"]),
        ("カタカナ語", ["カタカナ", "語"]),
        ("ดีมาก", ["ดี", "ม", "า", "ก"]),
        ("นี้", ["นี้"]),
        ("ດີ", ["ດີ"]),
        ("ကောင်း", ["ကော", "င်း"]),
        ("ភាសា", ["ភា", "សា"]),
        # A consonant below another belongs to it.
        ("យន្ត", ["យ", "ន្ត"]),
        ("သတ္တ", ["သ", "တ္တ"]),
    ],
)
def test_words_of_many_scripts(text: str, expected: list[str]) -> None:
    assert words(text) == expected
    assert "".join(word + after for word, after in pieces_of(text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("that is ok 😡", ["that", "is", "ok", "😡"]),
        ("😡ok😡😡", ["😡", "ok", "😡", "😡"]),
        ("👨\u200d👩\u200d👧\u200d👦 🇩🇪🇫🇷", ["👨\u200d👩\u200d👧\u200d👦", "🇩🇪", "🇫🇷"]),
        ("👍🏽 ❤\ufe0f 1\ufe0f\u20e3", ["👍🏽", "❤\ufe0f", "1\ufe0f\u20e3"]),
        ("cost $5, 3% #fun @you", ["cost", "$", "5", "3", "%", "#", "fun", "@", "you"]),
        ("r&d + 20€ < 30°", ["r", "&", "d", "+", "20", "€", "<", "30", "°"]),
        ("``quoted'' -- (so) [it] is/was...", ["quoted", "so", "it", "is", "was"]),
    ],
)
def test_symbols_and_emoji_are_words_and_punctuation_is_none(
    text: str, expected: list[str]
) -> None:
    assert words(text) == expected


def test_an_emoji_receives_its_own_credit() -> None:
    def anger(texts: list[str]) -> np.ndarray:
        return np.array([-5.0 if "😡" in text else 0.0 for text in texts])

    for text, values in (("that is ok 😡", [0, 0, 0, -5]), ("😡 ok", [-5, 0]), ("😡", [-5])):
        answer = assay.ExactShapley()(assay.Question(anger, [text]))
        np.testing.assert_allclose(answer.values[0], values, atol=1e-10)


@given(st.text(alphabet="abcXYZ059_ '’\".,:;!?()-[]{}\\/\n\t²½`", max_size=20))
def test_plain_english_has_the_words_it_had(text: str) -> None:
    before = [(word or "", after or mark or "") for word, after, mark in _ENGLISH.findall(text)]
    assert pieces_of(text) == before


@given(st.text(st.characters(max_codepoint=127), max_size=20))
def test_texts_of_ascii_alone_have_the_words_of_any_text(text: str) -> None:
    assert [text[start:stop] for start, stop in segmented(text)] == words(text)


_ANY = st.characters() | st.sampled_from("\u0301\u200d\ufe0f🇩🇪👍🏽👩か한भाे् \n'’,.")


@given(st.text(_ANY, max_size=20), st.sampled_from(["words", "characters", r"\w+|[^\w\s]"]))
def test_every_letter_stands_in_one_piece(text: str, split: str) -> None:
    pieces = pieces_of(text, split)
    assert "".join(word + after for word, after in pieces) == text
    # Marks alone may only stand before any word, and no word is of spaces.
    assert all(word.strip() for word, _ in pieces[1:])


def test_texts_are_split_as_is_said() -> None:
    text = "Don't, e\u0301 我们"
    assert words(text, "characters") == ["D", "o", "n", "'", "t", ",", "e\u0301", "我", "们"]
    assert words(text, r"\S+") == ["Don't,", "e\u0301", "我们"]
    assert words(text, re.compile("[a-zA-Z]+")) == ["Don", "t", "e"]
    assert words(text, str.split) == ["Don't,", "e\u0301", "我们"]
    # Offsets, as tokenizers give them: special tokens are empty, bytes of one letter share it.
    assert words(text, lambda text: [(0, 0), (0, 3), (3, 5), (10, 11), (10, 11), (11, 12)]) == [
        "Don",
        "'t",
        "我",
        "们",
    ]
    assert words(text, lambda text: {"offset_mapping": [(0, 5)]}) == ["Don't"]


def test_the_pieces_of_a_segmenter_are_the_features() -> None:
    def segmenter(text: str) -> list[str]:
        return re.findall("我|喜欢|巴黎", text)

    def paris(texts: list[str]) -> np.ndarray:
        return np.array([2.0 * ("巴黎" in text) for text in texts])

    question = assay.Question(paris, ["我喜欢巴黎。"], features=assay.Words(split=segmenter))
    answer = assay.ExactShapley()(question)
    assert answer.names == ("我", "喜欢", "巴黎")
    assert answer.values[0].tolist() == [0.0, 0.0, 2.0]
    # Where it lies in memory is another in every run.
    assert "0x" not in repr(question)


def test_questions_of_other_words_are_other_questions() -> None:
    def count(texts: list[str]) -> np.ndarray:
        return np.array([float(len(text)) for text in texts])

    def digest(split: object) -> str:
        features = assay.Words(split=split)
        return assay.Question(count, ["abc"], features=features).digest

    two_ways = [lambda text: ["a", "bc"], lambda text: ["ab", "c"]]
    assert digest(two_ways[0]) != digest(two_ways[1])
    assert digest(two_ways[0]) == digest(two_ways[0])


def test_a_bag_folds_case_and_the_coding_of_marks() -> None:
    def count(texts: list[str]) -> np.ndarray:
        return np.array([float(len(text)) for text in texts])

    text = "Été e\u0301te\u0301 STRASSE straße"
    question = assay.Question(count, [text], features=assay.Words(bag=True))
    assert question.partition.names == ("Été", "STRASSE")


@pytest.mark.parametrize(
    ("split", "error", "words"),
    [
        ("chars", SettingError, "split='characters'"),
        ("", SettingError, "split='characters'"),
        ("(", SettingError, r"split=r'\\S\+'"),
        (3, KindError, "callable"),
        (None, KindError, "callable"),
    ],
)
def test_a_split_that_says_nothing_is_refused_at_once(
    split: object, error: type[AssayError], words: str
) -> None:
    with pytest.raises(error, match=words):
        assay.Words(split=split)


@pytest.mark.parametrize(
    ("split", "words"),
    [
        (lambda text: text.lower().split(), "'one', which is not there.*return_offsets_mapping"),
        (lambda text: [(0, 99)], r"\(0, 99\), which is not there"),
        (lambda text: [(2, 1)], "not there"),
        (lambda text: [1, 2], "not there"),
        (lambda text: 5, "TypeError.*start, stop"),
        (lambda text: {"input_ids": [1]}, "KeyError.*return_offsets_mapping"),
        (lambda text: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_callable_that_does_not_split_the_text_is_refused(split: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        assay.Question(len, ["One two"], features=assay.Words(split=split))
