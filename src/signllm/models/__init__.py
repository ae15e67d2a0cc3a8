"""All that a user of the Hub needs at run time. Flat: modules import torch, numpy, transformers and their siblings."""
