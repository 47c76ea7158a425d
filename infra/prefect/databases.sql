-- PostgreSQL's first start: MLflow's databases beside Prefect's, which the image makes itself.
CREATE DATABASE mlflow;
CREATE DATABASE mlflow_auth;
