from .jar import engines_jar as engines_jar
