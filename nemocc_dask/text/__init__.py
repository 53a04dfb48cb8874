"""Pure functions on columns of text. `engine` picks the kind of column; the other rooms never ask which it is."""
