"""Names that people bring from papers and from other libraries, and what answers them here.

A name that `parse` can read stands for settings as text; what is no method or metric here (an
argument, a result, a certificate) stands for a line of code; and a name that nothing here answers
yet is kept too, so that a refusal can say so instead of "unknown". `docs/names.md` is made from
this table. Names are compared without case, hyphens, spaces, underscores and the package in front:
`grad-cam`, `KernelSHAP` and `captum.attr.Saliency` are found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

Answer: TypeAlias = Literal["settings", "code", "missing"]

Row: TypeAlias = tuple[str, str, str]  # a name there, what answers it here, a remark


@final
@dataclass(frozen=True)
class Alias:
    """A name from elsewhere.

    Settings:
        name: as the other library, or the paper, spells it.
        library: where the name is from.
        here: settings as text, or a line of code; empty where nothing here answers.
        remark: what differs, or what comes closest.
        answer: which of the three `here` is.
    """

    name: str
    library: str
    here: str
    remark: str
    answer: Answer

    @property
    def advice(self) -> str:
        """What to tell somebody whose name is no settings here."""
        origin = f"{self.name} ({self.library})"
        sentence = f"{origin} is written {self.here} here."
        if self.answer == "missing":
            sentence = f"{origin} has no equivalent here yet."
        if not self.remark:
            return sentence
        # A remark is a cell of a table; here it becomes a sentence.
        first, others = self.remark[0], self.remark[1:]
        return f"{sentence} {first.upper()}{others}."


def find(name: str) -> Alias | None:
    """What a name from elsewhere stands for, None for one that is not in the table.

    >>> find("SmoothGrad").here, find("captum.attr.Saliency").here, find("grad-cam").answer
    ('Smoothed(Gradient())', 'Absolute(Gradient())', 'settings')
    """
    return _BY_NAME.get(normalised(name))


def normalised(name: str) -> str:
    """A name without its package, case, hyphens, spaces and underscores."""
    # Dots separate packages: of captum.attr.Saliency the last part is the name.
    last = name.strip().rpartition(".")[2]
    return re.sub(r"[\s_-]+", "", last).casefold()


# Rows of the table, shorter by what all of them share.


def _settings(library: str, *rows: Row) -> list[Alias]:
    return [Alias(name, library, here, remark, answer="settings") for name, here, remark in rows]


def _code(library: str, *rows: Row) -> list[Alias]:
    return [Alias(name, library, here, remark, answer="code") for name, here, remark in rows]


def _missing(library: str, remark: str, *names: str) -> list[Alias]:
    return [Alias(name, library, "", remark, answer="missing") for name in names]


# Remarks that many missing names share: what comes closest to them here.
_CAM = "`GradCam(layer)` and its kin map one layer"
_GUIDED = "`Gradient()` is the slope without changed backward rules"
_COMPOSITES = "its rules and composites have the same names in `assay.methods.rules`"
_INTERNAL = "`question.after(layer)` asks about the activations of a layer"
_MASKING = "`Infidelity()` asks whether credit accounts for what removing features does"

ALIASES: tuple[Alias, ...] = (
    # What papers call it. A class here has its paper's name where one name is settled.
    *_settings(
        "papers",
        ("VanillaGradient", "Gradient()", ""),
        ("SaliencyMap", "Absolute(Gradient())", ""),
        ("GradientTimesInput", "InputXGradient()", ""),
        ("InputTimesGradient", "InputXGradient()", ""),
        (
            "SmoothGrad",
            "Smoothed(Gradient())",
            "`noise` is in units of the input, not a share of its range",
        ),
        (
            "SmoothGrad-Squared",
            'Smoothed(Gradient(), statistic="square")',
            "`noise` is in units of the input, not a share of its range",
        ),
        (
            "VarGrad",
            'Smoothed(Gradient(), statistic="variance")',
            "the unbiased variance: over draws - 1",
        ),
        ("IG", "IntegratedGradients", ""),
        ("GradientSHAP", "ExpectedGradients", "its baselines are `removal=Background(rows)`"),
        ("Guided backpropagation", "GuidedBackprop()", ""),
        (
            "Deconvolutional network",
            "Deconvnet()",
            "rectifiers alone: poolings keep their switches",
        ),
        ("Layer-wise relevance propagation", "LRP()", "`composite` says which rule where"),
        ("Deep Taylor decomposition", "LRP(EpsilonPlus())", "z-plus; `ZBox` first for pixels"),
        ("AttnLRP", "LRP(AttentionAware())", ""),
        ("CP-LRP", "LRP(ConservativeAttention())", ""),
        ("DeepSHAP", "DeepLift()", "with `removal=Background(rows)`"),
        ("RevealCancel", 'DeepLift(rule="reveal_cancel")', ""),
        ("LeaveOneOut", "Occlusion()", "one feature at a time: `window=1`"),
        ("LOO", "Occlusion()", "one feature at a time: `window=1`"),
        ("RISE", "Rise", "its `estimator` is centred; the paper's is `raw`"),
        ("LIME", "Lime", "`neighbourhood` says how to draw around the input"),
        ("LimeImage", "Lime(CoinMasks())", "with `features=Superpixels()`"),
        ("LimeText", "Lime(SizeMasks())", "hand over texts: words are the features"),
        ("ShapleyValue", "ExactShapley", "from all 2^features coalitions"),
        ("KernelSHAP", "KernelShap", ""),
        ("LeverageSHAP", 'KernelShap(weighting="leverage")', ""),
        ("PermutationSHAP", "PermutationShapley", ""),
        ("ProxySHAP", "ProxyShap", ""),
        ("LinearSHAP", "LinearShap", ""),
        ("LowOrderSHAP", "LowOrderShap", ""),
        ("MaxSHAP", "MaxShap", ""),
        ("IME", "SamplingShapley", "Štrumbelj and Kononenko: one row of the background a draw"),
        ("Owen", "OwenValues", ""),
        ("QII", "Qii", ""),
        ("Banzhaf", 'Qii("banzhaf")', ""),
    ),
    *_code(
        "papers",
        ("SHAP", "assay.explain(model, inputs)", "or say which: `ExactShapley`, `KernelShap`"),
        ("LimeTabular", "Lime(Quartiles(rows))", "`rows` are the training data"),
        (
            "ShapleyRegressionValues",
            "ShapleyRegression(estimator, rows, answers)",
            "the model is fitted anew for every coalition",
        ),
        (
            "MuS",
            "MultiplicativeSmoothing(kept, levels)",
            "it certifies a selection of features and is no method",
        ),
        ("ConvergenceDelta", "answer.gap", "the metric `Completeness()` scores it"),
    ),
    *_settings(
        "papers",
        ("Grad-CAM", "GradCam()", "signed; `rectify=True` cuts as the paper does"),
        ("Grad-CAM++", "GradCamPlusPlus()", ""),
        ("Score-CAM", "ScoreCam()", ""),
        ("Guided Grad-CAM", "Guided(GradCam(rectify=True))", ""),
        ("Class activation mapping", "CAM()", ""),
        ("Attention rollout", "AttentionRollout()", ""),
        ("Generic attention explainability", "AttentionRelevance()", "Chefer et al., ICCV 2021"),
        ("Transformer attribution", "TransformerRelevance()", "Chefer et al., CVPR 2021"),
    ),
    *_settings(
        "papers",
        ("TreeSHAP", 'TreeShap(mode="path_dependent")', "`TreeShap()` where the removal has rows"),
        ("Linear TreeSHAP", 'TreeShap(mode="path_dependent")', "by quadrature, exact at any depth"),
        ("WOODELF", "TreeShap()", "from patterns of decisions, too"),
        ("SHAP interaction values", "TreeInteractions()", "`ExactInteractions()` for any model"),
        ("Shapley interaction index", "ExactInteractions()", ""),
    ),
    *_missing("papers", _INTERNAL, "TCAV"),
    *_missing("papers", "`Path` takes any path that is given beforehand", "Guided IG"),
    *_missing(
        "papers", "`assay.SoftStability` tests what a selection of features decides", "Anchors"
    ),
    *_missing("papers", _MASKING, "ROAR"),
    *_settings(
        "papers",
        ("MoRF", "Deletion()", "the most relevant first"),
        ("LeRF", "LeastRelevantFirst()", "the least relevant first"),
        ("SRG", "SymmetricRelevanceGain()", ""),
        ("ABPC", "SymmetricRelevanceGain()", ""),
        ("N-Ord", "NecessityOrdering()", ""),
        ("S-Ord", "SufficiencyOrdering()", "counted from f(absent); from 0 in the authors' code"),
        ("TPN", "NecessityProportionality()", ""),
        ("TPS", "SufficiencyProportionality()", ""),
        ("ROAD", "Road()", "the most relevant first"),
        ("FeatureAgreement", "TopKOverlap", ""),
    ),
    # Captum: classes of captum.attr, functions of captum.metrics.
    *_settings(
        "Captum",
        ("Saliency", "Absolute(Gradient())", "with `abs=False` it is `Gradient()`"),
        ("InputXGradient", "InputXGradient", ""),
        ("IntegratedGradients", "IntegratedGradients", "64 steps by default, 50 there"),
        ("GradientShap", "ExpectedGradients", "its baselines are `removal=Background(rows)`"),
        ("NoiseTunnel", "Smoothed", "made around a method: `Smoothed(Gradient(), draws=50)`"),
        ("FeatureAblation", "Occlusion()", "one feature at a time: `window=1`"),
        ("Occlusion", "Occlusion", ""),
        ("ShapleyValueSampling", "PermutationShapley", ""),
        ("ShapleyValues", "ExactShapley", "from all 2^features coalitions"),
        ("KernelShap", "KernelShap", ""),
        ("Lime", "Lime", ""),
        ("LimeBase", "Lime", "`neighbourhood` says how to draw around the input"),
        ("infidelity", "Infidelity", "its perturbation is a setting with a default"),
        ("sensitivity_max", "MaxSensitivity", "radius 0.1 and 50 draws; 0.02 and 10 there"),
        ("compute_convergence_delta", "Completeness", "`answer.gap` is the signed number"),
    ),
    # Its arguments; then layers and neurons, which are questions here and no methods of their own.
    *_code(
        "Captum",
        ("return_convergence_delta", "answer.gap", "always at hand where it is promised"),
        ("baselines", "removal=Baseline(value)", "or `removal=Background(rows)` for several"),
        ("feature_mask", "features=Labels(mask)", ""),
        ("additional_forward_args", "context={name: Aligned(tensor)}", "or `Shared(value)`"),
        ("n_steps", "IntegratedGradients(steps=64)", ""),
        ("n_samples", "KernelShap(budget=2048)", "`draws`, `orderings` or `samples` elsewhere"),
        ("nt_samples", "Smoothed(method, draws=50)", ""),
        ("stdevs", "Smoothed(method, noise=0.1)", ""),
        ("sliding_window_shapes", "Occlusion(window=3)", ""),
        ("strides", "Occlusion(window=3, stride=2)", ""),
        ("internal_batch_size", "wrap(model, batch_size=64)", "found by measuring unless given"),
        ("perturbations_per_eval", "wrap(model, batch_size=64)", "found by measuring unless given"),
        ("LayerActivation", "question.after(layer).x", ""),
        ("LayerIntegratedGradients", "IntegratedGradients()(question.after(layer))", ""),
        ("LayerGradientXActivation", "InputXGradient()(question.after(layer))", ""),
        ("LayerGradientShap", "ExpectedGradients()(question.after(layer))", ""),
        ("LayerFeatureAblation", "Occlusion()(question.after(layer))", ""),
        ("NeuronGradient", "Gradient()(question.upto(layer, unit))", ""),
        ("NeuronIntegratedGradients", "IntegratedGradients()(question.upto(layer, unit))", ""),
        ("NeuronGradientShap", "ExpectedGradients()(question.upto(layer, unit))", ""),
        ("NeuronFeatureAblation", "Occlusion()(question.upto(layer, unit))", ""),
        ("LayerConductance", "Conductance()(question.after(layer))", ""),
        ("NeuronConductance", "IntegratedGradients()(question.through(layer, unit))", ""),
    ),
    # Changed backward passes, weighted activations, permuted features, whole texts.
    *_settings(
        "Captum",
        ("DeepLift", "DeepLift()", "a module reused or a functional ReLU is heard, too"),
        ("DeepLiftShap", "DeepLift()", "its baselines are `removal=Background(rows)`"),
        ("LRP", "LRP()", "its epsilon rule everywhere is `LRP(Composite())`"),
        ("GuidedBackprop", "GuidedBackprop()", ""),
        ("Deconvolution", "Deconvnet()", ""),
    ),
    *_code(
        "Captum",
        ("LayerDeepLift", "DeepLift()(question.after(layer))", ""),
        ("LayerDeepLiftShap", "DeepLift()(question.after(layer))", "over `Background(rows)`"),
        ("LayerLRP", "LRP()(question.after(layer))", ""),
        ("NeuronDeepLift", "DeepLift()(question.upto(layer, unit))", ""),
        ("NeuronDeepLiftShap", "DeepLift()(question.upto(layer, unit))", "over `Background(rows)`"),
        ("NeuronGuidedBackprop", "GuidedBackprop()(question.upto(layer, unit))", ""),
        ("NeuronDeconvolution", "Deconvnet()(question.upto(layer, unit))", ""),
    ),
    *_code(
        "Captum",
        ("LayerGradCam", "GradCam()(question.after(layer, Pixels()))", ""),
    ),
    *_settings(
        "Captum", ("GuidedGradCam", "Guided(GradCam(rectify=True))", "bilinear; nearest there")
    ),
    *_missing(
        "Captum",
        'Qii("unary") draws a feature anew from the background',
        "FeaturePermutation",
        "LayerFeaturePermutation",
    ),
    *_missing(
        "Captum",
        "the target `Sequence(words)` explains the log-probability of a text",
        "LLMAttribution",
        "LLMGradientAttribution",
    ),
    # shap: its explainers.
    *_settings(
        "shap",
        ("KernelExplainer", "KernelShap", ""),
        ("SamplingExplainer", "SamplingShapley", ""),
        ("PermutationExplainer", "PermutationShapley", ""),
        ("ExactExplainer", "ExactShapley", ""),
        ("PartitionExplainer", "OwenValues", "halves of the features, or a `hierarchy`"),
        ("CoalitionExplainer", "OwenValues", "its coalition tree is the `hierarchy`"),
        ("LinearExplainer", "LinearShap", ""),
        ("GradientExplainer", "ExpectedGradients", ""),
    ),
    # Its results, arguments and maskers: a masker is a removal here, and a tree of features a
    # setting of the method.
    *_code(
        "shap",
        ("Explainer", "assay.explain(model, inputs)", "picks a method by what the model can do"),
        ("shap_values", "answer.values", ""),
        ("expected_value", "answer.base", ""),
        ("base_values", "answer.base", ""),
        ("nsamples", "KernelShap(budget=2048)", ""),
        ("npermutations", "PermutationShapley(orderings=64)", ""),
        ("maskers.Independent", "removal=Background(rows)", "interventional"),
        ("maskers.Impute", "removal=Conditional(rows)", "observational"),
        ("maskers.Partition", "OwenValues(hierarchy)", ""),
        ("maskers.Text", "removal=MaskToken(token)", "with texts as inputs"),
        ('link="logit"', "target=LogOdds()", ""),
        ("feature_perturbation", "removal=Background(rows)", "or `Conditional(rows)`"),
    ),
    *_settings(
        "shap",
        (
            "TreeExplainer",
            'TreeShap(mode="path_dependent")',
            "with data `TreeShap()` and `Background(rows)`",
        ),
        ("shap_interaction_values", "TreeInteractions()", ""),
        ("GPUTreeExplainer", 'TreeShap(mode="path_dependent")', "on the processor"),
    ),
    *_settings("shap", ("DeepExplainer", "DeepLift()", "its data are `removal=Background(rows)`")),
    *_missing("shap", "`ExactShapley()` asks any model", "AdditiveExplainer"),
    *_missing("shap", "", "approximate_interactions"),
    # lime: its explainers differ in the neighbourhood that they draw from.
    *_settings(
        "lime",
        ("LimeImageExplainer", "Lime(CoinMasks())", "with `features=Superpixels()`"),
        ("LimeTextExplainer", "Lime(SizeMasks())", "hand over texts: words are the features"),
    ),
    # Its arguments, which are settings of the neighbourhood or of the fit.
    *_code(
        "lime",
        ("LimeTabularExplainer", "Lime(Quartiles(rows))", "`rows` are the training data"),
        ("training_data", "Quartiles(rows)", ""),
        ("discretize_continuous", "Lime(Gaussian(scale))", "False there: no quartiles"),
        ("num_samples", "CoinMasks(samples=1000)", "of any neighbourhood"),
        ("kernel_width", "CoinMasks(width=0.25)", "of any neighbourhood"),
        ("num_features", "Lime(keep=10)", ""),
        ("feature_selection", 'Lime(keep=10, selection="auto")', ""),
        ("model_regressor", "Lime(ridge=1.0)", "least squares, or ridge regression"),
        ("segmentation_fn", "features=Superpixels()", "or `features=Labels(map)`"),
        ("hide_color", "removal=Baseline(value)", ""),
        ("split_expression", 'features=Words(split=r"\\S+")', "what a word matches"),
        ("char_level", 'features=Words(split="characters")', ""),
        ("bow", "features=Words(bag=True)", "True there"),
        ("mask_string", 'removal=MaskToken("[MASK]")', ""),
    ),
    *_missing("lime", "", "RecurrentTabularExplainer", "SubmodularPick"),
    # zennit: what it computes by slopes; its rules change the backward pass.
    *_settings(
        "zennit",
        ("Gradient", "Gradient", ""),
        (
            "SmoothGrad",
            "Smoothed(Gradient())",
            "`noise` is in units of the input, not a share of its range",
        ),
        ("IntegratedGradients", "IntegratedGradients", ""),
        ("Occlusion", "Occlusion", ""),
    ),
    *_code("zennit", ("attr_output", "target=Output(index)", "or any other target")),
    *_settings("zennit", ("DeconvNet", "Deconvnet()", "")),
    # Its rules and composites have the same names here, under assay.methods.rules.
    *_code(
        "zennit",
        ("LayerMapComposite", "LRP(Composite(map))", _COMPOSITES),
        ("SpecialFirstLayerMapComposite", "LRP(Composite(map))", _COMPOSITES),
        ("NameMapComposite", "LRP(Composite(map))", _COMPOSITES),
    ),
    *_missing("zennit", _GUIDED, "ExcitationBackprop"),
    *_missing("zennit", _GUIDED, "BetaSmooth"),
    # pytorch-grad-cam: maps of a layer, of which some are questions behind it.
    *_code(
        "pytorch-grad-cam",
        ("target_layers", "question.after(layer)", ""),
        ("ClassifierOutputTarget", "target=Output(index)", "or `target=index`"),
        ("reshape_transform", "GradCam(layer, grid=(14, 14))", "class and register tokens dropped"),
        ("GradCAMElementWise", "LayerCam()(question.after(layer, Pixels()))", "rectified by slope"),
    ),
    *_settings(
        "pytorch-grad-cam",
        ("DropInConfidence", "AverageDrop()", "relative, in per cent; absolute there"),
        ("IncreaseInConfidence", "AverageIncrease()", ""),
        (
            "ROADMostRelevantFirst",
            "Road()",
            "whether the class stays; the drop in confidence there",
        ),
        ("HiResCAM", "HiResCam()", "signed; rectified and scaled there"),
        ("AblationCAM", "AblationCam()", "a channel is set to 0; to its least less 1e7 there"),
        ("XGradCAM", "XGradCam()", ""),
        ("EigenCAM", "EigenCam()", "its sign is fixed by a rule"),
        ("LayerCAM", "LayerCam()", ""),
    ),
    # innvestigate: its analyzers by name; the presets are composites.
    *_settings(
        "innvestigate",
        ("gradient", "Gradient()", ""),
        ("guided_backprop", "GuidedBackprop()", ""),
        ("deconvnet", "Deconvnet()", ""),
        ("input_t_gradient", "InputXGradient()", ""),
        ("lrp.sequential_preset_a", "LRP(EpsilonPlus())", ""),
        ("lrp.sequential_preset_a_flat", "LRP(EpsilonPlusFlat())", ""),
        ("lrp.sequential_preset_b", "LRP(EpsilonAlpha2Beta1())", ""),
        ("lrp.sequential_preset_b_flat", "LRP(EpsilonAlpha2Beta1Flat())", ""),
        ("deep_taylor", "LRP(EpsilonPlus())", "z-plus for convolutions, epsilon for dense layers"),
    ),
    # Quantus: metrics alone.
    *_settings(
        "Quantus",
        ("Infidelity", "Infidelity", ""),
        ("MaxSensitivity", "MaxSensitivity", ""),
        ("Completeness", "Completeness", ""),
        ("LocalLipschitzEstimate", "LipschitzSensitivity", "in a ball, and not under normal noise"),
        ("MPRT", "ModelRandomisation", "the trained network is no part of the mean"),
        ("RandomLogit", "ClassSensitivity", "rank correlation in the place of SSIM"),
        ("InputInvariance", "InputShift", "a relative distance, no yes or no"),
    ),
    # Read off the same draws as the maximum, as details of its score.
    *_code(
        "Quantus",
        (
            "AvgSensitivity",
            'MaxSensitivity(method)(question, answer).details["mean"]',
            "the mean of the same changes",
        ),
    ),
    # Faithfulness, robustness, complexity, localisation, randomisation, axioms: its own headings.
    *_settings(
        "Quantus",
        ("FaithfulnessCorrelation", "FaithfulnessCorrelation()", "subsets are a share of features"),
        ("PixelFlipping", "Deletion()", "over the share removed, the whole input included"),
        ("RegionPerturbation", "AOPC()", "with `features=Patches(8)`; its mean, not its curve"),
        ("Selectivity", "Deletion()", "with `features=Patches(8)`"),
        ("SensitivityN", "SensitivityN()", "over subsets of each input, not over inputs"),
        ("ROAD", "Road()", "the whole share of removals that keep the class"),
        ("Monotonicity", "Monotonicity()", 'its yes or no is `details["rising"] == 1`'),
        (
            "Sufficiency",
            "Sufficiency()",
            "that of rationales; whether like explanations have like classes there",
        ),
        ("Sparseness", "Gini()", ""),
        ("Complexity", "Entropy()", ""),
        ("PointingGame", "PointingGame()", "ties shared; an empty truth has no score"),
        ("AttributionLocalisation", "MassAccuracy()", "of positive credit; its weight is left out"),
        ("RelevanceMassAccuracy", "MassAccuracy()", "of positive credit; of signed sums there"),
        ("RelevanceRankAccuracy", "RankAccuracy()", "ties shared"),
        ("AUC", "RocArea()", ""),
    ),
    *_missing(
        "Quantus",
        "`FaithfulnessCorrelation()` and `Monotonicity()` ask alike",
        "FaithfulnessEstimate",
    ),
    *_missing("Quantus", "`Deletion()` with `features=Superpixels()` comes closest", "IROF"),
    *_missing(
        "Quantus",
        "`Monotonicity()` compares ranks of credit and of gains",
        "MonotonicityCorrelation",
    ),
    *_missing("Quantus", "`MaxSensitivity()` moves the input alone", "RelativeInputStability"),
    *_missing(
        "Quantus",
        "`MaxSensitivity()` moves the input alone",
        "RelativeOutputStability",
        "RelativeRepresentationStability",
        "Continuity",
        "Consistency",
    ),
    *_missing("Quantus", "`EffectiveNumber()` needs no threshold", "EffectiveComplexity"),
    *_missing(
        "Quantus",
        "`IntersectionOverUnion()` and `RankAccuracy()` compare top features",
        "TopKIntersection",
    ),
    *_missing("Quantus", "", "Focus"),
    *_missing("Quantus", "", "SmoothMPRT", "EfficientMPRT"),
    *_missing("Quantus", "", "NonSensitivity"),
)
"""Every name, by library; the same name of two libraries means the same here."""

LIBRARIES: tuple[str, ...] = tuple(dict.fromkeys(alias.library for alias in ALIASES))

# Reversed, so that of a name that stands twice the first one is found: papers before libraries.
_BY_NAME: dict[str, Alias] = {normalised(alias.name): alias for alias in reversed(ALIASES)}
