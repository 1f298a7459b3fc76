"""Photographs of a small training set: who made them, under which licence, and the hashes of their files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

PACKAGE = "lomiri-wallpapers-16.04"
"""Debian's package of the wallpapers."""
VERSION = "20.04.0-2"
"""Of the package that the hashes were taken from."""

_FROM_PACKAGE = f"Debian's {PACKAGE} {VERSION}, https://gitlab.com/ubports/development/core/lomiri-wallpapers"
_BY = "CC-BY-4.0"
_CC0 = "CC0-1.0"
_TERMS = {
    _BY: "https://creativecommons.org/licenses/by/4.0/",
    _CC0: "https://creativecommons.org/publicdomain/zero/1.0/",
}


@dataclass(frozen=True)
class Photograph:
    """A file that must be this very one."""

    file: str
    author: str
    licence: str
    """As the package's copyright file or scikit-image's documentation states it."""
    source: str
    """Where it comes from; of scikit-image's, where scikit-image has it from."""
    sha256: str


WALLPAPERS = tuple(
    Photograph(file, author, licence, _FROM_PACKAGE, sha256)
    for file, author, licence, sha256 in (
        (
            "Picture_0B_by_freespace.jpg",
            'Trevor "Freespace"',
            _BY,
            "c8c0ab18e48d9e0419fe42881112137f3afafc27dfddc29ec3a6d54c56d225ad",
        ),
        (
            "Picture_1A_by_freespace.jpg",
            'Trevor "Freespace"',
            _BY,
            "89e86af38d04daaef975665dc2127e9fa76f0fd68f4eea105a2d0ae3390b010b",
        ),
        (
            "Wine_by_Jakkub_Mede.jpg",
            "Jakub Mede",
            _BY,
            "d2e96e6d4da40dd804b3d0ce295e94de04a2d7d9b6785d42cd9d92ba58bced74",
        ),
        (
            "aitzgorri_by_Aitzol_Berasategi.jpg",
            "Aitzol Berasategi",
            _BY,
            "66268e7b48f8854d36a28765fac6e23ec1aee251daa6da1f64715f201020ad36",
        ),
        (
            "friends_by_Aitzol_Berasategi.jpg",
            "Aitzol Berasategi",
            _BY,
            "cc40e313c74e421edffe3403def413c16878ce14661cce7ec5915baeab35538d",
        ),
        (
            "life_by_Aitzol_Berasategi.jpg",
            "Aitzol Berasategi",
            _BY,
            "4c119350ead80201fe256850c3d316309ddfb4bdf10b235ce982dcde0c667c05",
        ),
        (
            "picosdeeuropa_by_Aitzol_Berasategi.jpg",
            "Aitzol Berasategi",
            _BY,
            "414d0072b2f6f2c555deafeaef6e45c4fed6fa9ad26eba6560ca8803959cf97a",
        ),
        (
            "seeding_by_Clements_Engelhardt.jpg",
            "Clemens Engelhardt",
            _CC0,
            "a5634d1ab5e41a3568e92d4a894a500c92b891f9ff734e50bd224d6e185a605f",
        ),
        (
            "sunset_by_Aitzol_Berasategi.jpg",
            "Aitzol Berasategi",
            _BY,
            "474dab6a4b9f94dc76c29dfe30e9f5db4af0fd2e33fe5d695f8152b371efca18",
        ),
    )
)
"""Those of the package under CC0 or CC-BY. Its others are under CC-BY-SA, or no photograph (umang, CC-BY)."""

BUNDLED_PHOTOGRAPHS = tuple(
    Photograph(file, author, licence, source, sha256)
    for file, author, licence, source, sha256 in (
        (
            "astronaut.png",
            "NASA",
            "public domain",
            "https://flic.kr/p/r9qvLn",
            "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        ),
        (
            "brick.png",
            "CC0Textures",
            _CC0,
            "https://cc0textures.com/view.php?tex=Bricks25",
            "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
        ),
        (
            "camera.png",
            "Lav Varshney",
            _CC0,
            "https://github.com/scikit-image/scikit-image/issues/3927",
            "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
        ),
        (
            "coins.png",
            "Brooklyn Museum",
            "no known copyright restrictions",
            "https://www.brooklynmuseum.org/opencollection/archives/image/51611",
            "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba",
        ),
        (
            "grass.png",
            "linolafett",
            _CC0,
            "https://www.deviantart.com/linolafett/art/Grass-01-434853879",
            "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
        ),
        (
            "gravel.png",
            "CC0Textures",
            _CC0,
            "https://cc0textures.com/view.php?tex=Gravel04",
            "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
        ),
        (
            "hubble_deep_field.jpg",
            "NASA",
            "public domain",
            "http://hubblesite.org/newscenter/archive/releases/2012/37/image/a/",
            "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
        ),
        (
            "ihc.png",
            "Center for Microscopy and Molecular Imaging",
            "no known copyright restrictions",
            "not stated",
            "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
        ),
        (
            "moon.png",
            "author not stated",
            "licence not stated",
            "not stated",
            "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577",
        ),
        (
            "motorcycle_left.png",
            "D. Scharstein et al., Middlebury 2014 stereo benchmark",
            "licence not stated",
            "http://vision.middlebury.edu/stereo/data/scenes2014/",
            "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
        ),
        (
            "retina.jpg",
            "Mikael Häggström",
            _CC0,
            "https://commons.wikimedia.org/wiki/File:Fundus_photograph_of_normal_left_eye.jpg",
            "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
        ),
        (
            "rocket.jpg",
            "SpaceX",
            "public domain",
            "https://www.flickr.com/photos/spacexphotos/16511594820/",
            "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        ),
    )
)
"""scikit-image's photographs but coffee and chelsea, on which the small recipes validate. The same in 0.19.3 and 0.26.0."""


def credits_table(photographs: Sequence[Photograph]) -> str:
    """A Markdown table of files, authors, licences and sources, for the card of a model that is trained on them."""
    rows = "".join(
        f"| {photo.file} | {photo.author} | {photo.licence} | {photo.source} | `{photo.sha256}` |\n"
        for photo in photographs
    )
    terms = "".join(f"- {licence}: <{address}>\n" for licence, address in _TERMS.items())
    return f"| file | author | licence | source | SHA-256 |\n|---|---|---|---|---|\n{rows}\n{terms}"


def credit_lines(photographs: Sequence[Photograph]) -> list[str]:
    """One line for each author and licence, with the files."""
    files: dict[tuple[str, str], list[str]] = defaultdict(list)
    for photo in photographs:
        files[photo.author, photo.licence].append(photo.file)
    return [f"{author} ({licence}): {', '.join(names)}" for (author, licence), names in files.items()]
