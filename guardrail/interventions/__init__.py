"""The words of interventions: reviewed templates and the places where help is."""
