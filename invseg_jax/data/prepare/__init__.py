"""From a case's files to the arrays that a network takes, cached on disk."""
