"""Guided Grad-CAM: a map of a class, which says where, times guided slopes, which say what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from assay.answers.attribution import Kind
from assay.errors import InputError, SettingError
from assay.methods.base import Estimate, Method
from assay.methods.cam.maps import ActivationMap
from assay.methods.rules.guided import GuidedBackprop
from assay.models.base import Ability
from assay.question.question import Question


@final
@dataclass(frozen=True)
class Guided(Method):
    """A map of a class, upsampled to the input, times guided backpropagation element by element.

    phi_i = M(u_i) s_i, u_i the place of element i      (Selvaraju et al. 2017, section 3.2)

    Settings:
        map: the map, such as `GradCam("layer4", rectify=True)`.

    Cost: that of the map, and one forward and backward pass. Values: (n, features), a weight; signed
    as the guided slopes are where the map is rectified. Errors: SettingError for what is no map,
    InputError behind a layer.

    >>> from assay import GradCam
    >>> Guided(GradCam(rectify=True))
    Guided(map=GradCam(layer=None, rectify=True, grid=None))
    """

    map: ActivationMap
    needs = frozenset({Ability.GRADIENT, Ability.LAYERS, Ability.OPERATIONS})
    cost: ClassVar[str] = "map, and 1 gradient"

    def __post_init__(self) -> None:
        if not isinstance(self.map, ActivationMap):
            raise SettingError(
                expected="a map of a class inside Guided",
                got=repr(self.map),
                advice="Write Guided(GradCam('layer4')).",
            )

    @property
    def kind(self) -> Kind:
        return Kind.WEIGHT

    def check(self, question: Question) -> None:
        # Half a network has no layers, which is not what is wrong here.
        if question.is_behind_layer:
            raise InputError(
                expected="a question about the network's own inputs for Guided",
                got="one behind a layer",
                advice="Ask the network, and name the layer: Guided(GradCam('layer4')).",
            )
        super().check(question)
        self.map.check(question)

    def values(self, question: Question, seed: int) -> Estimate:
        elements = question.by_elements()
        mapped = self.map.estimate(elements, seed)
        guided = GuidedBackprop().estimate(elements, seed)
        notes = {**mapped.notes, **guided.notes}
        return Estimate(question.pool(mapped.values * guided.values), notes=notes)
