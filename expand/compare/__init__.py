"""`expand compare`: several runs, or two networks, side by side. Importing it loads no torch, no pandas."""
