"""Cards by name: what people write and mean, and what is known of each card."""

import tomllib
from pathlib import Path

import pytest

import gpunet
from gpunet.devices import cards as module
from gpunet.devices.cards import DEFAULT, Card, cards, find, with_article
from gpunet.errors import ConfigError

LEAST = {
    "GTX Titan X Maxwell": 12_794_200_064,
    "GTX 1060 3GB": 3_160_276_992,
    "GTX 1060 6GB": 6_364_463_104,
    "GTX 1080 Ti": 11_706_630_144,
    "Titan X Pascal": 12_788_000_000,
    "V100 SXM2 16GB": 16_911_433_728,
    "GTX 1650": 3_896_180_736,
    "GTX 1660 Ti": 6_230_245_376,
    "RTX 2060 6GB": 6_022_365_184,
    "RTX 2080 Ti": 11_519_590_400,
    "T4": 15_843_721_216,
    "A100 SXM 80GB": 84_987_740_160,
    "RTX 3050 6GB": 6_085_214_208,
    "RTX 3060 12GB": 12_587_106_304,
    "RTX 3080 10GB": 10_469_376_000,
    "RTX 3090": 25_206_325_248,
    "RTX 4060 Ti 16GB": 17_175_150_592,
    "RTX 4090": 25_386_352_640,
    "L4": 23_612_293_120,
    "L40S": 47_576_711_168,
    "H100 SXM 80GB": 85_017_755_648,
    "H200": 150_100_000_000,
    "Jetson AGX Orin 64GB": 65_893_089_280,
    "Jetson Orin NX 16GB": 16_136_011_776,
    "Jetson Orin Nano 8GB": 7_693_115_392,
    "RTX 5060": 8_546_484_224,
    "RTX 5090": 33_660_534_784,
    "A100 SXM 40GB": 40_326 * 2**20,
    "A10G": 22_587 * 2**20,
    "RTX 4070": 11_866 * 2**20,
    "RTX 5070": 12_226 * 2**20,
}
"""The least CUDA total that was seen of each card, in bytes; the last four were told in whole MiB."""

UNSEEN = {
    "V100 SXM2 32GB": 32_768,
    "RTX 2060 12GB": 12_288,
    "RTX 3050 8GB": 8_192,
    "RTX 3080 12GB": 12_288,
    "A10": 23_028,
    "RTX 4060": 8_188,
    "RTX 4060 Ti 8GB": 8_188,
}
"""What nvidia-smi shows, in MiB, of the cards whose total nobody saw."""


def test_the_totals_are_the_least_that_were_seen() -> None:
    assert {card.name: card.total_bytes for card in cards() if card.name in LEAST} == LEAST
    assert {card.name for card in cards()} == {*LEAST, *UNSEEN}


def test_a_total_that_nobody_saw_is_estimated_below_what_nvidia_smi_shows_and_says_so() -> None:
    for name, mib in UNSEEN.items():
        card = find(name)
        assert 0.94 * mib * 2**20 < card.total_bytes < 0.96 * mib * 2**20
        assert "estimated" in card.total_source and not card.total_is_sure
    seen = [card for card in cards() if card.linux_bytes and card.nvidia_smi_mib and card.memory_gb >= 8]
    shares = [card.total_bytes / (card.nvidia_smi_mib * 2**20) for card in seen]
    assert min(shares) > 0.96  # so an estimate is rather too low than too high


def test_what_was_seen_on_windows_alone_is_told() -> None:
    for name in ("RTX 4060 Ti 16GB", "RTX 5060", "RTX 5070"):
        assert "Windows" in find(name).total_source and not find(name).total_is_sure
    assert find("3060").total_is_sure and find("3060").total_source == "the least CUDA total that is known to the byte"
    assert "laptop" in find("2060 6gb").total_source


def test_every_card_is_whole_and_says_what_is_unsure_of_it() -> None:
    fields = set(Card.__dataclass_fields__)
    for card in cards():
        assert (5, 2) <= card.compute_capability <= (12, 0) and card.multiprocessors > 0
        assert 0 < card.total_bytes <= card.memory_gb * 2**30  # none gives as many GiB as it is said to have GB
        assert card.bandwidth_gb_s > 0 and card.l2_mib > 0 and card.float32_tflops > 0
        assert {*card.seen, *card.unsure} <= fields and not {*card.seen} & {*card.unsure}
        assert list(card.linux_bytes) == sorted(card.linux_bytes) and list(card.windows_bytes) == sorted(
            card.windows_bytes
        )
        if card.compute_capability >= (8, 0) and "tf32_tflops" not in card.unsure:
            assert card.float32_tflops <= card.tf32_tflops < card.float16_tflops
        elif card.compute_capability < (8, 0):
            assert card.tf32_tflops is None


def test_the_file_says_where_its_figures_come_from_and_holds_nothing_unknown() -> None:
    text = Path(module.__file__).with_name("cards.toml").read_text("utf-8")
    assert "# Sources." in text
    entries = tomllib.loads(text)["card"]
    assert [entry["name"] for entry in entries] == [card.name for card in cards()]
    assert all(set(entry) <= set(Card.__dataclass_fields__) for entry in entries)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("3060", "RTX 3060 12GB"),
        ("rtx 3060", "RTX 3060 12GB"),
        ("RTX3060 12GB", "RTX 3060 12GB"),
        ("rtx-3060", "RTX 3060 12GB"),
        ("RTX_3060 12 GB", "RTX 3060 12GB"),
        ("3060 12g", "RTX 3060 12GB"),
        ("3060 12GiB", "RTX 3060 12GB"),
        ("NVIDIA GeForce RTX 3060", "RTX 3060 12GB"),
        ("1080ti", "GTX 1080 Ti"),
        ("1080 Ti 11GB", "GTX 1080 Ti"),
        ("GTX 1060 3GB", "GTX 1060 3GB"),
        ("GeForce GTX 1060 6GB", "GTX 1060 6GB"),
        ("4060", "RTX 4060"),
        ("4060ti 16gb", "RTX 4060 Ti 16GB"),
        ("titan x (pascal)", "Titan X Pascal"),
        ("gtx titan x", "GTX Titan X Maxwell"),
        ("Tesla T4", "T4"),
        ("t4 16gb", "T4"),
        ("A10", "A10"),
        ("A10G", "A10G"),
        ("a10 24gb", "A10"),
        ("NVIDIA A100-SXM4-80GB", "A100 SXM 80GB"),
        ("Tesla V100-SXM2-16GB", "V100 SXM2 16GB"),
        ("NVIDIA H100 80GB HBM3", "H100 SXM 80GB"),
        ("h200", "H200"),
        ("orin nano", "Jetson Orin Nano 8GB"),
        ("L4", "L4"),
        ("l40s", "L40S"),
    ],
)
def test_a_card_is_found_as_people_write_it(text: str, name: str) -> None:
    assert find(text).name == name


def test_every_card_is_found_by_its_own_name() -> None:
    for card in cards():
        for text in (
            card.name,
            card.name.lower(),
            card.name.replace(" ", "-"),
            card.name.replace(" ", "_").upper(),
            f"NVIDIA {card.name}",
        ):
            assert find(text) is card, text
    assert find(DEFAULT).total_bytes == 12_587_106_304


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1060", ["GTX 1060 3GB", "GTX 1060 6GB"]),
        ("rtx 2060", ["RTX 2060 6GB", "RTX 2060 12GB"]),
        ("3080", ["RTX 3080 10GB", "RTX 3080 12GB"]),
        ("4060 ti", ["RTX 4060 Ti 8GB", "RTX 4060 Ti 16GB"]),
        ("titan x", ["GTX Titan X Maxwell", "Titan X Pascal"]),
        ("A100", ["A100 SXM 40GB", "A100 SXM 80GB"]),
        ("v100", ["V100 SXM2 16GB", "V100 SXM2 32GB"]),
    ],
)
def test_a_name_that_several_cards_have_lists_them(text: str, names: list[str]) -> None:
    with pytest.raises(ConfigError, match="say which") as error:
        find(text)
    assert f"may be the {' or the '.join(names)}" in str(error.value)


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("3060 ti", "RTX 3060 12GB"),  # another card, which the table has not
        ("rtx 3060 8gb", "RTX 3060 12GB"),
        ("gtx 3060", "RTX 3060 12GB"),
        ("4090 laptop", "RTX 4090"),
        ("3006", "RTX 3060 12GB"),
        ("1080 it", "GTX 1080 Ti"),
        ("L40", "L40S"),
        ("rtx", "RTX"),
    ],
)
def test_an_unknown_card_offers_names_that_are_near(text: str, near: str) -> None:
    with pytest.raises(ConfigError, match="there is no card") as error:
        find(text)
    assert "did you mean the" in str(error.value) and near in str(error.value)
    assert "gpunet cards" in str(error.value) and "8GiB" in str(error.value)


@pytest.mark.parametrize("text", ["", " ", "banana", "?", "12GB", "x" * 10_000, "\u0663\u0660\u0666\u0660"])
def test_what_is_like_no_card_is_refused_in_one_short_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="there is no card") as error:
        find(text)
    assert "did you mean" not in str(error.value) and len(str(error.value)) < 200


@pytest.mark.parametrize(
    "name",
    ["an RTX 3060", "a GTX 1060", "an A100", "a T4", "a V100", "an L4", "an H200", "a Titan X", "an NVIDIA H200"],
)
def test_articles(name: str) -> None:
    assert with_article(name.partition(" ")[2]) == name


def test_numbers_stand_for_cards_too() -> None:
    assert gpunet.plan(gpunet.load("INPUT[8x8x1] -> FC-2"), 1, gpu=3060).card == "RTX 3060 12GB"


def test_all_cards_are_for_fit_alone() -> None:
    with pytest.raises(ConfigError, match="all cards at once are for gpunet fit"):
        find("All")


def test_figures_in_another_order_are_the_first_that_is_thought_of() -> None:
    with pytest.raises(ConfigError, match="did you mean the RTX 3060 12GB"):
        find("rtx 3600")
