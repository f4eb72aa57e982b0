"""Linear layers for inference on a CPU, with the weights brought into the processor's blocks once.

torch gives products in bfloat16 to oneDNN, which does that anew in every call: with the few rows of a running batch it
takes as long as the product, and leaving it out changes no bit. Products in float32 go to MKL, which is slow with few
rows; oneDNN's differ in the last bits of the sum.
"""

import platform
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

ROWS = 256
"""The blocks' shape is chosen for so many rows; with 1 to 1,024 it was as fast as the best for them."""
OPERATORS = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
"""ATen's, behind torch's own compiled models; no public function leads to them."""


def lay_out(model: "nn.Module") -> None:
    """Give the linear layers of a model that lies on an x86 CPU other weights, and a forward without a gradient.

    Elsewhere nothing is known to be gained. The plain weights go, except a head's that are the embedding's, too: those
    are there twice then.
    """
    import torch

    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():
        return
    if not all(hasattr(torch.ops.mkldnn, name) for name in OPERATORS):
        return
    served = {torch.float32} | ({torch.bfloat16} if torch.ops.mkldnn._is_mkldnn_bf16_supported() else set())
    for module in model.modules():
        if type(module) is torch.nn.Linear and module.weight.device.type == "cpu" and module.weight.dtype in served:
            blocked = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach(), ROWS)
            module.weight = torch.nn.Parameter(blocked, requires_grad=False)
            module.forward = partial(_product, weight=module.weight, bias=module.bias)


def _product(x: "Tensor", weight: "Tensor", bias: "Tensor | None") -> "Tensor":
    """x W' + b, of x [..., in] and the blocks of W [out, in]."""
    import torch

    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product
