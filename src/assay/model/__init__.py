"""Models: loaded, adapted, trained on, scored and asked."""

import logging

# On processors that multiply bf16 it advises, at its import, to install a package that fetches kernels from the Hub. It
# need not: its layers compute by our own settings (`quantise.settle`).
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
