"""What this machine needs: Java, pinned jars, the class-data archive of the driver's JVM."""
