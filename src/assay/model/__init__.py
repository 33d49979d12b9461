"""Models: loaded, adapted, trained on, scored and asked."""

import logging
import os

# oneDNN keeps its last 1,024 products ready, each with its buffers, and rows of packed texts differ in length: of bf16
# that was 12 MB more with every step. Those of two rows are enough to be as fast (LOG.md).
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

# On processors that multiply bf16 it advises, at its import, to install a package that fetches kernels from the Hub. It
# need not: its layers compute by our own settings (`quantise.settle`).
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
