"""Stage `train`: two-stage training with fastai."""
