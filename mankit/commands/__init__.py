"""The commands of `mankit`, a file for each: they read options, call the library and print."""
