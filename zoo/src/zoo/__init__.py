"""Real networks and data for tests, studies and benchmarks: `import zoo` after `pip install -e
zoo`.

The files are looked for under the folder that ASSAY_DATA names, or `../shared/data` beside the
repository. Image networks take [0, 1] pixels, channels first, and preprocess inside, so one array
of pictures serves all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo.captions import CANVAS_SIDE as CANVAS_SIDE
from zoo.captions import CAPTION_WORDS as CAPTION_WORDS
from zoo.captions import DIGIT_SIDE as DIGIT_SIDE
from zoo.captions import Canvases as Canvases
from zoo.captions import Captioner as Captioner
from zoo.captions import canvases as canvases
from zoo.captions import captioner as captioner
from zoo.molecules import LARGEST_MOLECULE as LARGEST_MOLECULE
from zoo.molecules import MoleculeNet as MoleculeNet
from zoo.molecules import Molecules as Molecules
from zoo.molecules import molecule_net as molecule_net
from zoo.molecules import molecules as molecules
from zoo.networks import CifarResNet as CifarResNet
from zoo.networks import DigitNet as DigitNet
from zoo.networks import cifar_resnet as cifar_resnet
from zoo.networks import cifar_vit as cifar_vit
from zoo.networks import digit_net as digit_net
from zoo.networks import mnist_vit as mnist_vit
from zoo.networks import mobilenet_v2 as mobilenet_v2
from zoo.networks import squeezenet as squeezenet
from zoo.pictures import cifar10 as cifar10
from zoo.pictures import mnist as mnist
from zoo.pictures import photographs as photographs
from zoo.pictures import tiny_imagenet as tiny_imagenet
from zoo.place import data_root as data_root
from zoo.place import must_skip
from zoo.questions import QuestionNet as QuestionNet
from zoo.questions import Reader as Reader
from zoo.questions import question_reader as question_reader
from zoo.questions import wikitable_questions as wikitable_questions
from zoo.tables import adult as adult
from zoo.tables import boston as boston
from zoo.tables import california as california
from zoo.tables import california_network as california_network
from zoo.tables import california_split as california_split
from zoo.tables import german as german
from zoo.tables import nhanes as nhanes
from zoo.tables import openxai as openxai
from zoo.tables import openxai_network as openxai_network
from zoo.tables import sst2 as sst2
from zoo.tables import trec as trec
from zoo.tables import tweeteval as tweeteval

if TYPE_CHECKING:
    import pytest

    needs_data: pytest.MarkDecorator


def __getattr__(name: str) -> Any:
    """`needs_data` on demand: benchmarks and studies import this package where pytest is not
    installed.
    """
    if name != "needs_data":
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    import pytest

    return pytest.mark.skipif(
        must_skip(), reason="real data not found: set ASSAY_DATA to its folder"
    )
