"""Exact fits: variable projection for laws linear in all but one parameter, Levenberg-Marquardt for the rest."""
