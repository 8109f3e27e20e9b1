"""A Spark of the test's own that gets master keys from a transit engine, by the client that this project has for it."""

import glob
import os
import subprocess

import pyspark
from pyspark.sql import SparkSession


def spark_session(scratch):
    """`scratch`: an empty folder for what is compiled and written on the way."""
    jars = os.path.join(os.path.dirname(pyspark.__file__), "jars")
    classes = f"{scratch}/classes"
    sources = glob.glob(os.path.join(os.environ["CORDON_INTEROP"], "java/cordon/interop/*.java"))
    subprocess.run(["javac", "-cp", f"{jars}/*", "-d", classes, *sources], check=True)
    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.driver.extraClassPath", classes).config("spark.sql.shuffle.partitions", "1")
    builder = builder.config("spark.sql.warehouse.dir", f"{scratch}/warehouse")
    for name, value in {
        "parquet.crypto.factory.class": "org.apache.parquet.crypto.keytools.PropertiesDrivenCryptoFactory",
        "parquet.encryption.kms.client.class": "cordon.interop.TransitKmsClient",
        "cordon.kms.address": os.environ["TEST_ADDRESS"],
        "cordon.kms.ca.file": os.environ["TEST_CA"],
        "cordon.kms.token.file": os.environ["TEST_TOKEN_FILE"],
    }.items():
        builder = builder.config(f"spark.hadoop.{name}", value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark
