"""How alike a student and a living network are: metrics, certificates, and the making of students from recordings."""
