"""Maps of a class over the places of a layer: activations, each channel with a weight of its own.

`maps` is what all have in common: the layer, its activations A and their slopes G, the map at the
layer's places and its upsampled form. The families differ in the weights: `by_slopes` (CAM,
Grad-CAM, Grad-CAM++, XGrad-CAM, HiResCAM, Layer-CAM), `by_masking` (Score-CAM, Ablation-CAM, which
takes what a target loses without a channel from `ablation`), `eigen` (Eigen-CAM). `guided_map` is
the product with guided backpropagation. `full_grad` (FullGrad) maps no one layer: it adds up what
the biases of all layers say at their places. `neurons` says which channels matter for a class, and
what they are called.

May be subclassed: `maps.ActivationMap`.
"""
