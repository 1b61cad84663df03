"""Runs in MLflow's own environment: saves the pickled pipeline as an MLflow model that answers with probabilities. `save_mlflow.py PICKLE FOLDER`."""

import sys

import joblib
import mlflow.sklearn

mlflow.sklearn.save_model(joblib.load(sys.argv[1]), sys.argv[2], serialization_format="cloudpickle", pyfunc_predict_fn="predict_proba")
