"""keras-hub's Gemma 4, on the torch back end of Keras."""
