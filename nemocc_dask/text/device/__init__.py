"""The kernels for text on a GPU, as arithmetic over a few operations on columns. `text.gpu` binds them to cuDF's."""
